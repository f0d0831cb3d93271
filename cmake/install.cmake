# cmake --install: the program, the public header, and the CMake package `updraft` with the target updraft::updraft.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(installed updraft_options)
foreach(folder base text checkpoint compute compute_cpu model engine session library)
  list(APPEND installed updraft_${folder})
endforeach()
set_target_properties(updraft_library PROPERTIES EXPORT_NAME updraft)
target_include_directories(updraft_options INTERFACE $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
install(TARGETS updraft RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(TARGETS ${installed} EXPORT updraft-targets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY include/updraft DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(EXPORT updraft-targets NAMESPACE updraft:: DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/updraft)
configure_package_config_file(cmake/updraft-config.cmake.in "${PROJECT_BINARY_DIR}/updraft-config.cmake"
                              INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/updraft)
write_basic_package_version_file("${PROJECT_BINARY_DIR}/updraft-config-version.cmake" COMPATIBILITY SameMinorVersion)
install(FILES "${PROJECT_BINARY_DIR}/updraft-config.cmake" "${PROJECT_BINARY_DIR}/updraft-config-version.cmake"
        DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/updraft)
