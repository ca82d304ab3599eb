# What every target shares: warnings, the linker, ccache, and the one helper that declares a module.

find_program(CCACHE_PROGRAM ccache)
if(CCACHE_PROGRAM)
  # Precompiled headers are told apart by what they define, which ccache has to be allowed to trust.
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env
      CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime ${CCACHE_PROGRAM})
endif()
find_program(MOLD_PROGRAM mold)
if(MOLD_PROGRAM)
  add_link_options(-fuse-ld=mold)
endif()

find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)
find_package(OpenSSL REQUIRED)
find_package(absl REQUIRED)
find_package(SQLite3 REQUIRED)
find_package(CURL REQUIRED)
find_package(GTest REQUIRED)
pkg_check_modules(SPDLOG REQUIRED IMPORTED_TARGET spdlog)
pkg_check_modules(YAMLCPP REQUIRED IMPORTED_TARGET yaml-cpp)
pkg_check_modules(LIBGIT2 REQUIRED IMPORTED_TARGET libgit2)
pkg_check_modules(LIBARCHIVE REQUIRED IMPORTED_TARGET libarchive)
pkg_check_modules(TOMLPLUSPLUS REQUIRED IMPORTED_TARGET tomlplusplus)
pkg_check_modules(GRPC REQUIRED IMPORTED_TARGET grpc++ protobuf)
pkg_check_modules(EXPAT REQUIRED IMPORTED_TARGET expat)
pkg_check_modules(ZSTD REQUIRED IMPORTED_TARGET libzstd)

add_library(cd4ml_warnings INTERFACE)
# g++ 12 reports -Wrestrict for `"text" + std::string` (GCC bug 105329), and designated initialisers are
# there to leave fields out; nothing else is switched off.
target_compile_options(cd4ml_warnings INTERFACE
  -Wall -Wextra -Wno-restrict -Wno-missing-field-initializers -Wshadow -Wnon-virtual-dtor -Woverloaded-virtual $<$<BOOL:${CD4ML_WERROR}>:-Werror>)

# In precompiled headers g++ 12 forgets which functions are the library's own, and reports its own inlined copies of
# strings (GCC bug 105651).
if(CD4ML_PCH AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  target_compile_options(cd4ml_warnings INTERFACE -Wno-array-bounds -Wno-stringop-overflow -Wno-stringop-overread)
endif()

# What nearly every file includes and what takes longest to read, read once: for the modules, and with the test
# framework for the tests, which are compiled with other flags.
set(CD4ML_COMMON_HEADERS <algorithm> <chrono> <cstdint> <functional> <map> <memory> <optional> <string> <string_view>
    <utility> <variant> <vector> <absl/status/status.h> <absl/status/statusor.h>)
# What is tested is optimised; the tests themselves only have to build fast.
set(CD4ML_TEST_OPTIONS -O0)
if(CD4ML_PCH)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    add_compile_options(-fpch-preprocess)   # For ccache.
  endif()
  add_library(cd4ml_headers OBJECT ${PROJECT_SOURCE_DIR}/cmake/headers.cc)
  target_link_libraries(cd4ml_headers PRIVATE absl::statusor cd4ml_warnings)
  target_precompile_headers(cd4ml_headers PRIVATE ${CD4ML_COMMON_HEADERS})
  add_library(cd4ml_test_headers OBJECT EXCLUDE_FROM_ALL ${PROJECT_SOURCE_DIR}/cmake/headers.cc)
  target_compile_options(cd4ml_test_headers PRIVATE ${CD4ML_TEST_OPTIONS})
  target_link_libraries(cd4ml_test_headers PRIVATE absl::statusor GTest::gtest_main GTest::gmock cd4ml_warnings)
  target_precompile_headers(cd4ml_test_headers PRIVATE ${CD4ML_COMMON_HEADERS} <filesystem> <fstream> <gtest/gtest.h>
                            <gmock/gmock.h>)
endif()

# cd4ml_precompile(TARGET HEADERS_OF) lets a target take the headers of another as they were read there.
function(cd4ml_precompile target headers)
  if(CD4ML_PCH)
    target_precompile_headers(${target} REUSE_FROM ${headers})
  endif()
endfunction()

# cd4ml_add_module(NAME SOURCES file... [DEPENDS module...] [PRIVATE library...])
#
# Declares the static library cd4ml_NAME of src/NAME: namespace cd4ml::NAME, contracts in
# include/cd4ml/NAME. DEPENDS names cd4ml modules, PRIVATE names third-party targets that only this
# module's sources may see.
function(cd4ml_add_module name)
  cmake_parse_arguments(MODULE "" "" "SOURCES;DEPENDS;PRIVATE" ${ARGN})
  add_library(cd4ml_${name} STATIC ${MODULE_SOURCES})
  target_include_directories(cd4ml_${name} PUBLIC ${PROJECT_SOURCE_DIR}/include
                                           PRIVATE ${PROJECT_SOURCE_DIR}/src)
  list(TRANSFORM MODULE_DEPENDS PREPEND cd4ml_)
  target_link_libraries(cd4ml_${name} PUBLIC ${MODULE_DEPENDS} PRIVATE ${MODULE_PRIVATE} cd4ml_warnings)
  if(NOT name STREQUAL "rpc")   # It has its own.
    cd4ml_precompile(cd4ml_${name} cd4ml_headers)
  endif()
endfunction()

# cd4ml_add_test(NAME SOURCES file... [DEPENDS module...] [PRIVATE library...])
#
# Declares one GoogleTest program NAME and registers it with ctest as one test.
function(cd4ml_add_test name)
  cmake_parse_arguments(TEST "" "" "SOURCES;DEPENDS;PRIVATE" ${ARGN})
  add_executable(${name} ${TEST_SOURCES})
  target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR}/src ${PROJECT_SOURCE_DIR})
  target_compile_options(${name} PRIVATE ${CD4ML_TEST_OPTIONS})
  target_compile_definitions(${name} PRIVATE CD4ML_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
  list(TRANSFORM TEST_DEPENDS PREPEND cd4ml_)
  target_link_libraries(${name} PRIVATE ${TEST_DEPENDS} ${TEST_PRIVATE} GTest::gtest_main GTest::gmock
                                        cd4ml_warnings)
  cd4ml_precompile(${name} cd4ml_test_headers)
  add_test(NAME ${name} COMMAND ${name})
endfunction()
