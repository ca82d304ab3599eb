// Questions about the machine.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>

#include "capture.h"
#include "cd4ml/base/check.h"
#include "cd4ml/base/digest.h"
#include "cd4ml/os/os.h"
#include "fd.h"

namespace cd4ml::os {
namespace {

// Returns the name that a person would give the system: "Debian GNU/Linux 12 (bookworm)".
std::string SystemName() {
  constexpr std::string_view kKey = "PRETTY_NAME=";
  std::ifstream file("/etc/os-release");
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with(kKey)) continue;
    line.erase(0, kKey.size());
    std::erase(line, '"');
    return line;
  }
  return "Linux";
}

// Returns the version of Debian's Python ("3.11.2"), or "" when there is none.
std::string PythonVersion() {
  constexpr std::string_view kPrefix = "Python ";
  const auto captured = Capture({"/usr/bin/python3", "--version"});
  if (!captured.ok() || !captured->output.starts_with(kPrefix)) return "";
  return captured->output.substr(kPrefix.size());
}

// Identifies the packages that this Python finds, by the folders that describe them: "53 packages sha256:0123456789ab".
std::string PythonPackages(const std::string& version) {
  const std::string minor = version.substr(0, version.find('.', version.find('.') + 1));
  std::set<std::string> names;
  for (const std::string& dir : {std::string("/usr/lib/python3/dist-packages"),
                                 "/usr/local/lib/python" + minor + "/dist-packages"}) {
    std::error_code error;
    for (std::filesystem::directory_iterator at(dir, error), end; !error && at != end; at.increment(error)) {
      const std::string extension = at->path().extension();
      if (extension == ".dist-info" || extension == ".egg-info") names.insert(at->path().filename());
    }
  }
  std::string all;
  for (const std::string& name : names) all += name + "\n";
  return std::to_string(names.size()) + " packages sha256:" + Sha256(all).brief();
}

int64_t CpuCount() {
  cpu_set_t cpus;
  return sched_getaffinity(0, sizeof cpus, &cpus) == 0 ? CPU_COUNT(&cpus) : get_nprocs();
}

}  // namespace

absl::StatusOr<int> FreePort() {
  const Fd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  auto* const generic = reinterpret_cast<sockaddr*>(&address);
  socklen_t size = sizeof address;
  if (bind(fd.get(), generic, size) != 0 || getsockname(fd.get(), generic, &size) != 0) {
    return SystemError("cannot find a free port");
  }
  return ntohs(address.sin_port);
}

absl::StatusOr<std::string> MakeTempDir() {
  std::string path = Environment("TMPDIR");
  path = (path.empty() ? "/tmp" : path) + "/cd4ml-XXXXXX";
  if (mkdtemp(path.data()) == nullptr)
    return SystemError("cannot make a temporary folder like " + path);
  return path;
}

std::string RandomHex(int bytes) {
  std::string random(static_cast<size_t>(bytes), '\0');
  CD4ML_CHECK(getrandom(random.data(), random.size(), 0) == bytes, "the kernel gives random bytes");
  std::string hex;
  for (const char character : random) {
    const auto byte = static_cast<unsigned char>(character);
    hex += "0123456789abcdef"[byte >> 4];
    hex += "0123456789abcdef"[byte & 15];
  }
  return hex;
}

std::string Environment(const std::string& name) {
  const char* const value = std::getenv(name.c_str());
  return value == nullptr ? "" : value;
}

std::string HostName() {
  utsname facts{};
  uname(&facts);
  return facts.nodename;
}

Value HostFacts() {
  utsname facts{};
  uname(&facts);
  struct sysinfo memory {};
  sysinfo(&memory);
  const std::string python = PythonVersion();
  return Value::Map{{"os", SystemName()},
                    {"kernel", facts.release},
                    {"machine", facts.machine},
                    {"cpus", CpuCount()},
                    {"memory_bytes", static_cast<int64_t>(memory.totalram) * memory.mem_unit},
                    {"python", python},
                    {"python_packages", python.empty() ? "" : PythonPackages(python)}};
}

}  // namespace cd4ml::os
