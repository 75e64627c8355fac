# cmake --install: the libraries, their headers under include/tandem, the tool, and a package, so that
#   find_package(tandem REQUIRED)
#   target_link_libraries(program PRIVATE tandem::tandem)
# works elsewhere. A backend asks for tandem::device, which needs Abseil alone:
#   find_package(tandem REQUIRED COMPONENTS device)
include(CMakePackageConfigHelpers)
include(GNUInstallDirs)

set(TANDEM_INCLUDE_DIR ${CMAKE_INSTALL_INCLUDEDIR}/tandem)
set(TANDEM_PACKAGE_DIR ${CMAKE_INSTALL_LIBDIR}/cmake/tandem)

set_target_properties(tandem_device PROPERTIES EXPORT_NAME device)
install(TARGETS tandem_device EXPORT tandemDeviceTargets
  ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(TARGETS tandem EXPORT tandemTargets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
if(TARGET tandem_tool)
  install(TARGETS tandem_tool RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()

# Plugins are where the tool and programs with the library look for them (backends/open_device.h).
if(TARGET tandem_cuda)
  install(TARGETS tandem_cuda LIBRARY DESTINATION lib/tandem)
endif()

# The device contract is public as a whole. Of the other layers: the headers that engine.h needs.
install(DIRECTORY backends/device/ DESTINATION ${TANDEM_INCLUDE_DIR}/backends/device
  FILES_MATCHING PATTERN "*.h")
install(FILES ops/op.h DESTINATION ${TANDEM_INCLUDE_DIR}/ops)
install(FILES
  runtime/engine.h
  runtime/gguf_metadata.h
  runtime/model.h
  runtime/model_config.h
  runtime/rope.h
  runtime/sampler.h
  runtime/session.h
  runtime/tensor_file.h
  runtime/tokenizer.h
  runtime/tokenizer_spec.h
  runtime/weights.h
  DESTINATION ${TANDEM_INCLUDE_DIR}/runtime)

install(EXPORT tandemDeviceTargets NAMESPACE tandem:: DESTINATION ${TANDEM_PACKAGE_DIR})
install(EXPORT tandemTargets NAMESPACE tandem:: DESTINATION ${TANDEM_PACKAGE_DIR})
configure_package_config_file(cmake/tandemConfig.cmake.in
  ${CMAKE_BINARY_DIR}/tandemConfig.cmake INSTALL_DESTINATION ${TANDEM_PACKAGE_DIR})
write_basic_package_version_file(${CMAKE_BINARY_DIR}/tandemConfigVersion.cmake
  COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/tandemConfig.cmake ${CMAKE_BINARY_DIR}/tandemConfigVersion.cmake
  DESTINATION ${TANDEM_PACKAGE_DIR})

# The model that `tandem run` uses when no other is given, where the installed tool looks for it.
install(FILES models/stories-iq4_nl.gguf models/README.md
  DESTINATION ${CMAKE_INSTALL_DATADIR}/tandem/models)
# Shapes of published models, for `tandem synthesize`.
install(DIRECTORY models/configs DESTINATION ${CMAKE_INSTALL_DATADIR}/tandem/models)
