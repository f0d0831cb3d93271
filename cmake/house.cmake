# The house's build rules: warnings, floating point, sanitizers, and one library per folder of src/.

add_library(updraft_options INTERFACE)
target_include_directories(updraft_options INTERFACE
  $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/src> $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>)
# -ffp-contract=off: a fused multiply-add only where it is written (the law of the house).
target_compile_options(updraft_options INTERFACE $<BUILD_INTERFACE:-Wall;-Wextra;-Wpedantic;-Wshadow;-Werror;-ffp-contract=off>)
if(UPDRAFT_SANITIZE)
  target_compile_options(updraft_options INTERFACE -fsanitize=${UPDRAFT_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  target_link_options(updraft_options INTERFACE -fsanitize=${UPDRAFT_SANITIZE})
endif()

# UPDRAFT_MERGE: the compiler reads a folder's files as a few merged ones (CMake's unity builds), and with them each header and each
# template once instead of once a file. Off for users, for clang-tidy, and in the libraries of the release build of ./check, which
# so proves that every file includes what it uses; instruction-set files, which have flags of their own, are never merged.
# `alone` lists files whose local names are also another's.
function(updraft_merge target alone)
  set_target_properties(${target} PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 16)
  set_source_files_properties(${alone} PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)
  # GCC takes a merged .cc for a header, where a type with members of an anonymous namespace would be a fault.
  target_compile_options(${target} PRIVATE $<$<CXX_COMPILER_ID:GNU>:-Wno-subobject-linkage>)
endfunction()

# updraft_library(<folder of src/> FLOOR <n> LINK <libraries...> [EXCEPT <files...>] [ALONE <files...>])
# Compiles every .cc of the folder (and, for text, of its jinja/ subfolder) into updraft_<folder>.
# Instruction-set files are named kernels_<isa>.cc and get their flags in the folder's own flags.cmake.
function(updraft_library folder)
  cmake_parse_arguments(ARG "" "FLOOR" "LINK;EXCEPT;ALONE" ${ARGN})
  if(ARG_FLOOR GREATER UPDRAFT_FLOORS)
    return()
  endif()
  string(REPLACE "/" "_" name "updraft_${folder}")
  file(GLOB sources CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/src/${folder}/*.cc")
  if(folder STREQUAL "text")
    file(GLOB more CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/src/${folder}/jinja/*.cc")
    list(APPEND sources ${more})
  endif()
  foreach(except IN LISTS ARG_EXCEPT)
    list(REMOVE_ITEM sources "${PROJECT_SOURCE_DIR}/src/${folder}/${except}")
  endforeach()
  if(EXISTS "${PROJECT_SOURCE_DIR}/src/${folder}/flags.cmake")
    include("${PROJECT_SOURCE_DIR}/src/${folder}/flags.cmake") # may filter `sources` and set per-file flags
  endif()
  if(sources)
    add_library(${name} STATIC ${sources})
    target_link_libraries(${name} PUBLIC updraft_options ${ARG_LINK})
    if(UPDRAFT_FUZZERS)
      target_compile_options(${name} PRIVATE -fsanitize=fuzzer-no-link) # before the files' own options, which may take it back
    endif()
    if(UPDRAFT_MERGE STREQUAL "ON" OR (UPDRAFT_MERGE STREQUAL "doors" AND folder STREQUAL "cli"))
      list(TRANSFORM ARG_ALONE PREPEND "${PROJECT_SOURCE_DIR}/src/${folder}/")
      updraft_merge(${name} "${ARG_ALONE}")
    endif()
  else()
    add_library(${name} INTERFACE)
    target_link_libraries(${name} INTERFACE updraft_options ${ARG_LINK})
  endif()
endfunction()

# Nothing is measured in a test, and its code is most of what there is to compile: the optimizer does less for it than for the libraries.
# Under ASan and UBSan -O0 saves 60 % of that; under TSan it would cost the engine's tests more than it saves.
if(UPDRAFT_SANITIZE MATCHES "address")
  set(test_optimization -O0)
elseif(CMAKE_BUILD_TYPE STREQUAL "Release")
  set(test_optimization -O1)
endif()

# updraft_test(<folder of tests/> LINK <libraries...> [ALONE <files...>]): one GoogleTest program per folder, one CTest entry per test.
function(updraft_test folder)
  cmake_parse_arguments(ARG "" "" "LINK;ALONE" ${ARGN})
  string(REPLACE "/" "_" name "${folder}_test")
  foreach(library IN LISTS ARG_LINK)
    if(NOT TARGET ${library})
      return() # a floor that this build leaves out
    endif()
  endforeach()
  file(GLOB sources CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/tests/${folder}/*_test.cc")
  if(NOT sources)
    return()
  endif()
  add_executable(${name} ${sources})
  target_link_libraries(${name} PRIVATE ${ARG_LINK} GTest::gtest GTest::gtest_main GTest::gmock)
  target_include_directories(${name} PRIVATE "${PROJECT_SOURCE_DIR}")
  target_compile_definitions(${name} PRIVATE UPDRAFT_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
  target_compile_options(${name} PRIVATE ${test_optimization})
  if(UPDRAFT_MERGE)
    list(TRANSFORM ARG_ALONE PREPEND "${CMAKE_CURRENT_SOURCE_DIR}/${folder}/")
    updraft_merge(${name} "${ARG_ALONE}")
  endif()
  # Suites with Golden in their name carry the CTest label `golden`.
  # PRE_TEST: a build that CTest does not run need not list its tests, which takes seconds under emulation.
  gtest_discover_tests(${name} TEST_FILTER "-*Golden*" DISCOVERY_MODE PRE_TEST DISCOVERY_TIMEOUT 120 PROPERTIES TIMEOUT 900)
  gtest_discover_tests(${name} TEST_FILTER "*Golden*" TEST_LIST ${name}_golden DISCOVERY_MODE PRE_TEST DISCOVERY_TIMEOUT 120
                       PROPERTIES TIMEOUT 900 LABELS golden)
endfunction()
