# The house's build rules: warnings, floating point, sanitizers, and one library per folder of src/.

add_library(updraft_options INTERFACE)
target_include_directories(updraft_options INTERFACE
  $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/src> $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>)
# -ffp-contract=off: a fused multiply-add only where it is written (the law of the house).
target_compile_options(updraft_options INTERFACE $<BUILD_INTERFACE:-Wall;-Wextra;-Wpedantic;-Wshadow;-Werror;-ffp-contract=off>)
if(UPDRAFT_FUZZERS)
  target_compile_options(updraft_options INTERFACE -fsanitize=fuzzer-no-link)
endif()
if(UPDRAFT_SANITIZE)
  target_compile_options(updraft_options INTERFACE -fsanitize=${UPDRAFT_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  target_link_options(updraft_options INTERFACE -fsanitize=${UPDRAFT_SANITIZE})
endif()

# What nearly every file of a kind reads, compiled once by the target `owner` for all of them. UPDRAFT_PCH=doors: only for the tests and
# src/cli, so that the release build of ./check still proves that the other files include what they use.
function(updraft_precompile name owner)
  if(NOT UPDRAFT_PCH OR (UPDRAFT_PCH STREQUAL "doors" AND owner STREQUAL "updraft_base"))
    return()
  elseif(name STREQUAL owner)
    target_precompile_headers(${name} PRIVATE ${ARGN})
  else()
    target_precompile_headers(${name} REUSE_FROM ${owner})
  endif()
  # What ccache needs: no time of day in Clang's files, and GCC's preprocessor leaving the header alone.
  target_compile_options(${name} PRIVATE $<$<CXX_COMPILER_ID:Clang>:SHELL:-Xclang -fno-pch-timestamp>
                         $<$<CXX_COMPILER_ID:GNU>:-fpch-preprocess>)
endfunction()
set(library_headers <algorithm> <array> <cstdint> <filesystem> <functional> <map> <memory> <optional> <span> <string>
    <string_view> <unordered_map> <vector> <fmt/format.h> <fmt/ranges.h> <nlohmann/json.hpp>)
set(cli_headers ${library_headers} <CLI/CLI.hpp>)
set(test_headers ${library_headers} <cmath> <fstream> <random> <gmock/gmock.h> <gtest/gtest.h>)

# updraft_library(<folder of src/> FLOOR <n> LINK <libraries...> [EXCEPT <files...>])
# Compiles every .cc of the folder (and, for text, of its jinja/ subfolder) into updraft_<folder>.
# Instruction-set files are named kernels_<isa>.cc and get their flags in the folder's own flags.cmake.
function(updraft_library folder)
  cmake_parse_arguments(ARG "" "FLOOR" "LINK;EXCEPT" ${ARGN})
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
    if(folder STREQUAL "cli")
      updraft_precompile(${name} updraft_cli ${cli_headers})
    else()
      updraft_precompile(${name} updraft_base ${library_headers})
    endif()
  else()
    add_library(${name} INTERFACE)
    target_link_libraries(${name} INTERFACE updraft_options ${ARG_LINK})
  endif()
endfunction()

# updraft_test(<folder of tests/> LINK <libraries...>): one GoogleTest program per folder, one CTest entry per test.
function(updraft_test folder)
  cmake_parse_arguments(ARG "" "" "LINK" ${ARGN})
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
  updraft_precompile(${name} base_test ${test_headers})
  # Suites with Golden in their name carry the CTest label `golden`.
  gtest_discover_tests(${name} TEST_FILTER "-*Golden*" DISCOVERY_TIMEOUT 120 PROPERTIES TIMEOUT 900)
  gtest_discover_tests(${name} TEST_FILTER "*Golden*" TEST_LIST ${name}_golden DISCOVERY_TIMEOUT 120
                       PROPERTIES TIMEOUT 900 LABELS golden)
endfunction()
