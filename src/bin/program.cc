// Folders, logs and exit codes of the programs.
#include "program.h"

#include <CLI/CLI.hpp>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "cd4ml/base/digest.h"
#include "cd4ml/base/log.h"
#include "cd4ml/base/status.h"
#include "cd4ml/os/os.h"

namespace cd4ml::bin {

const char* const kVersion = CD4ML_VERSION;

std::string DefaultStateDir(const std::string& name) {
  const std::string state = os::Environment("XDG_STATE_HOME");
  return (state.empty() ? os::Environment("HOME") + "/.local/state" : state) + "/cd4ml/" + name;
}

std::string NotEmpty(const std::string& text) { return text.empty() ? "it is empty" : ""; }

std::string Absolute(const std::string& path) {
  std::string absolute = std::filesystem::absolute(path).lexically_normal().string();
  if (absolute.size() > 1 && absolute.ends_with('/')) absolute.pop_back();
  return absolute;
}

std::string ProgramDir() {
  std::error_code error;
  return std::filesystem::read_symlink("/proc/self/exe", error).parent_path().string();
}

std::string ProgramDigest() {
  Hasher hasher;
  std::ifstream file("/proc/self/exe", std::ios::binary);
  std::string piece(size_t{1} << 20, '\0');
  while (file.read(piece.data(), static_cast<std::streamsize>(piece.size())).gcount() > 0) {
    hasher.Update(std::string_view(piece).substr(0, static_cast<size_t>(file.gcount())));
  }
  return hasher.Finish().hex();
}

void AddLogFlags(CLI::App& app, std::string& level, std::string& file) {
  app.add_option("--log-level", level, "debug, info, warn or error")
      ->check(CLI::IsMember({"debug", "info", "warn", "error"}))
      ->capture_default_str();
  app.add_option("--log-file", file, "Append the log here instead of to standard error")
      ->check([](const std::string& path) -> std::string {
        std::FILE* log = std::fopen(Absolute(path).c_str(), "ae");
        if (log == nullptr) return "cannot write to " + path + ": " + std::strerror(errno);
        std::fclose(log);
        return "";
      });
}

void OpenProgramLog(const std::string& program, const std::string& level, const std::string& file) {
  const LogLevel known = level == "debug"  ? LogLevel::kDebug
                         : level == "warn" ? LogLevel::kWarn
                         : level == "error" ? LogLevel::kError
                                            : LogLevel::kInfo;
  OpenLog(program, known, file.empty() ? "" : Absolute(file));
}

int ExitCode(const std::string& program, const absl::Status& status) {
  if (status.ok()) return 0;
  std::fprintf(stderr, "%s: %s\n", program.c_str(), Message(status).c_str());
  return 1;
}

}  // namespace cd4ml::bin
