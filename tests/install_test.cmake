# Installs into an empty prefix, then builds and runs programs that know nothing but that prefix.
# Needs -D of: BUILD_DIR SOURCE_DIR WORK_DIR MODEL_WRITER ENGINE_TEST GENERATOR COMPILER FLAGS LAUNCHER
cmake_minimum_required(VERSION 3.22)

function(run)
  execute_process(COMMAND ${ARGV} RESULT_VARIABLE result OUTPUT_VARIABLE output ERROR_VARIABLE output)
  if(NOT result EQUAL 0)
    message(FATAL_ERROR "${ARGV}\n${output}")
  endif()
endfunction()

# Configures and builds tests/<project> against the prefix, into WORK_DIR/<project>.
function(build_outside project)
  run(${CMAKE_COMMAND} -S ${SOURCE_DIR}/tests/${project} -B ${WORK_DIR}/${project} -G ${GENERATOR}
    -DCMAKE_PREFIX_PATH=${prefix} -DCMAKE_BUILD_TYPE=Release -DCMAKE_CXX_COMPILER=${COMPILER}
    -DCMAKE_CXX_FLAGS=${FLAGS} -DCMAKE_CXX_COMPILER_LAUNCHER=${LAUNCHER}
    -DCMAKE_RUNTIME_OUTPUT_DIRECTORY=${WORK_DIR}/${project}
    -DCMAKE_LIBRARY_OUTPUT_DIRECTORY=${WORK_DIR}/${project})
  run(${CMAKE_COMMAND} --build ${WORK_DIR}/${project})
endfunction()

set(prefix ${WORK_DIR}/prefix)
file(REMOVE_RECURSE ${WORK_DIR})
run(${CMAKE_COMMAND} --install ${BUILD_DIR} --prefix ${prefix})

# The package may be moved: nothing in it names the folders that it was built from.
file(GLOB_RECURSE package ${prefix}/*.cmake)
if(NOT package)
  message(FATAL_ERROR "no CMake package was installed into ${prefix}")
endif()
foreach(file IN LISTS package)
  file(READ ${file} text)
  foreach(folder ${BUILD_DIR} ${SOURCE_DIR} ${prefix})
    string(FIND "${text}" "${folder}" position)
    if(NOT position EQUAL -1)
      message(FATAL_ERROR "${file} names ${folder}")
    endif()
  endforeach()
endforeach()

run(${MODEL_WRITER} ${WORK_DIR}/model ${SOURCE_DIR}/tests/data/tokenizers/small_metaspace.json)
build_outside(embed)
run(${WORK_DIR}/embed/embed ${WORK_DIR}/model "Once upon a time" reference)

# What the plugin does not support runs on the second device.
build_outside(plugin)
file(GLOB plugins ${WORK_DIR}/plugin/*.so)
list(LENGTH plugins count)
if(NOT count EQUAL 1)
  message(FATAL_ERROR "tests/plugin built ${count} plugins: ${plugins}")
endif()
run(${WORK_DIR}/embed/embed ${WORK_DIR}/model "Once upon a time" ${plugins} reference)

run(${prefix}/bin/tandem check-device ${plugins})
run(${CMAKE_COMMAND} -E env TANDEM_INSTALLED_PLUGIN=${plugins}
  ${ENGINE_TEST} --gtest_filter=*AGoldenSplitBetweenAPluginAndTheCpu)

# The installed tool finds the installed plugin, usable or not.
if(EXISTS ${BUILD_DIR}/bin/libtandem_cuda.so)
  execute_process(COMMAND ${prefix}/bin/tandem devices OUTPUT_VARIABLE devices)
  string(FIND "${devices}" "no CUDA backend" position)
  if(devices STREQUAL "" OR NOT position EQUAL -1)
    message(FATAL_ERROR "the installed tool does not find its plugin:\n${devices}")
  endif()
endif()

# The installed tool finds the installed model, and a story does not depend on who computes it.
foreach(device cpu ${plugins},cpu)
  execute_process(COMMAND ${prefix}/bin/tandem run -n 40 --temp 0 --device ${device}
    RESULT_VARIABLE result OUTPUT_VARIABLE story ERROR_VARIABLE error)
  if(NOT result EQUAL 0)
    message(FATAL_ERROR "the installed tool on ${device}: ${error}")
  endif()
  list(APPEND stories "${story}")
endforeach()
list(REMOVE_DUPLICATES stories)
list(LENGTH stories count)
if(NOT count EQUAL 1)
  message(FATAL_ERROR "different stories: ${stories}")
endif()
run(${prefix}/bin/tandem run ${WORK_DIR}/model --prompt "Once upon a time" --device reference)
run(${prefix}/bin/tandem run -n 1)
