// `cd4ml import dvc`: a definition from a DVC repository, printed; needs no daemon and no DVC.
#include "cli/import_dvc.h"

#include <filesystem>

#include "cd4ml/base/status.h"
#include "cd4ml/base/text.h"
#include "cd4ml/ports/diagnostic_payload.h"
#include "cli/commands/commands.h"
#include "cli/definition.h"
#include "cli/text.h"

namespace cd4ml::cli {
namespace {

// Returns the last part of the folder's path as a name, or "".
std::string NameOfFolder(std::string path, const std::string& working_dir) {
  if (!path.starts_with('/')) path = path == "." ? working_dir : working_dir + "/" + path;
  while (path.ends_with('/')) path.pop_back();
  std::string name = path.substr(path.rfind('/') + 1);
  for (char& c : name) c = std::isalnum(static_cast<unsigned char>(c)) ? static_cast<char>(std::tolower(c)) : '-';
  return IsName(name) ? name : "";
}

// Returns the repository of the dvc.yaml in `folder`; one that is in no git repository is taken as one itself.
DvcRepo FindRepo(const std::string& folder, const CliPorts& ports) {
  std::string path = (std::filesystem::path(ports.working_dir) / folder).lexically_normal().string();
  while (path.size() > 1 && path.ends_with('/')) path.pop_back();
  std::string top = ports.checkout_of(path + "/dvc.yaml");
  const bool is_git = !absl::IsNotFound(ports.read_file(top + "/.git").status());
  if (!is_git || (path != top && !path.starts_with(top + "/"))) top = path;
  DvcRepo repo{.folder = path == top ? "" : path.substr(top.size() + 1), .read = {}, .find = {}};
  repo.read = [top, read = ports.read_file](const std::string& name) { return read(top + "/" + name); };
  repo.find = [top, find = ports.find_files](const std::string& below, const std::string& suffix) {
    return find(below.empty() ? top : top + "/" + below, suffix);
  };
  return repo;
}

int Perform(Invocation& invocation) {
  const std::string folder = invocation.arguments.One("PATH", ".");
  std::string name = invocation.arguments.One("name");
  if (name.empty()) name = NameOfFolder(folder, invocation.ports.working_dir);
  if (!IsName(name)) return invocation.FailUsage("the folder's name is no name of a pipeline; give one with --name");
  const DvcRepo repo = FindRepo(folder, invocation.ports);
  const absl::StatusOr<DvcImport> made = ImportDvc(name, invocation.ports.parser, repo);
  if (!made.ok()) return invocation.Fail(made.status());
  if (!made->refused.empty()) {
    core::Diagnostics findings;
    for (const std::string& refused : made->refused) {
      findings.push_back({.severity = core::Severity::kError, .message = refused, .file = "dvc.yaml"});
    }
    return invocation.Fail(DiagnosticsError("dvc.yaml says what has no equal here", findings));
  }
  const ParsedPipeline parsed = invocation.ports.parser.Parse(made->definition, name + ".cd4ml.yaml", nullptr);
  if (core::HasErrors(parsed.diagnostics)) {
    return invocation.Fail(DiagnosticsError("what came out needs a hand", parsed.diagnostics));
  }
  invocation.out.Write(made->definition);
  for (const std::string& note : made->notes) invocation.Note(SafeLine("note: " + note));
  return kExitOk;
}

}  // namespace

Command ImportDvcCommand() {
  return {
      .path = "import dvc",
      .group = "Pipelines",
      .summary = "print a definition made from a DVC repository",
      .examples = {"import dvc", "import dvc ~/prices --name used-car-price"},
      .operands = {{"PATH", "the folder of dvc.yaml; without it: here", false}},
      .options = {{"--name", "NAME", "name of the pipeline; without it: the folder's"}},
      .perform = Perform,
      .details = "Scripts and their folders stay as they are. What dvc.yaml says and nothing here can do is refused, key by key."};
}

}  // namespace cd4ml::cli
