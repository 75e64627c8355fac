# libtandem: every layer but the tools, in one static library.
add_library(tandem STATIC
  $<TARGET_OBJECTS:tandem_reference>
  $<TARGET_OBJECTS:tandem_cpu>
  $<TARGET_OBJECTS:tandem_cpu_loops>
  $<TARGET_OBJECTS:tandem_cpu_avx2>
  $<TARGET_OBJECTS:tandem_cpu_avx512>
  $<TARGET_OBJECTS:tandem_cpu_amx>
  $<TARGET_OBJECTS:tandem_open_device>
  $<TARGET_OBJECTS:tandem_ops>
  $<TARGET_OBJECTS:tandem_graph>
  $<TARGET_OBJECTS:tandem_runtime>)
target_link_libraries(tandem
  PUBLIC tandem_device absl::flat_hash_map absl::inlined_vector absl::status absl::statusor
         absl::strings
  PRIVATE TBB::tbb PkgConfig::pcre2 PkgConfig::utf8proc Threads::Threads absl::str_format
          ${CMAKE_DL_LIBS})
target_include_directories(tandem PUBLIC
  $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}> $<INSTALL_INTERFACE:include/tandem>)
add_library(tandem::tandem ALIAS tandem)
