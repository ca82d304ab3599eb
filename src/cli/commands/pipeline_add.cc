// `cd4ml pipeline add`: registers the pipelines of a git repository.
#include "cli/commands/commands.h"
#include "cli/invocation.h"
#include "cli/text.h"

namespace cd4ml::cli {
namespace {

// The daemon has another working directory.
std::string Absolute(const Invocation& invocation, std::string repo) {
  if (repo.starts_with("/") || repo.find("://") != std::string::npos) return repo;
  while (repo.starts_with("./")) repo.erase(0, 2);
  return repo.empty() || repo == "." ? invocation.ports.working_dir
                                     : invocation.ports.working_dir + "/" + repo;
}

int Print(const Invocation& invocation, const RegisterResult& result) {
  core::Diagnostics problems = result.problems;
  for (const PipelineRecord& pipeline : result.pipelines) {
    const bool is_good = pipeline.problems.empty();
    problems.insert(problems.end(), pipeline.problems.begin(), pipeline.problems.end());
    invocation.out.Line(
        (is_good ? invocation.out.Paint("✔", Style::kGood) + " Registered "
                 : invocation.out.Paint("✗", Style::kBad) + " Registered with problems ") +
        SafeLine(pipeline.name + " at " + BriefCommit(result.commit) + "  " + pipeline.file));
    if (is_good) invocation.Hints({{"Start it", "cd4ml run start " + pipeline.name + " --watch"}});
  }
  for (const core::Diagnostic& problem : problems)
    invocation.err.Write(SafeLines(core::Format(problem)));
  if (!problems.empty())
    invocation.Hints({{"What a finding means", "cd4ml explain " + problems.front().code}});
  return core::HasErrors(problems) ? kExitInvalidPipeline : kExitOk;
}

int Perform(Invocation& invocation) {
  const RegisterRequest request{.repo = Absolute(invocation, invocation.arguments.One("REPO")),
                                .branch = invocation.arguments.One("branch"),
                                .file = invocation.arguments.One("file")};
  const auto result = invocation.Await<RegisterResult>([&](Done<RegisterResult> done) {
    invocation.Control().RegisterPipeline(request, std::move(done));
  });
  if (!result.ok()) {
    return invocation.Fail(result.status(),
                           {{"Check its files without a daemon", "cd4ml lint FILE"}});
  }
  if (!invocation.is_json()) return Print(invocation, *result);
  invocation.PrintJson(invocation.ports.json.registered(*result));
  return result->problems.empty() ? kExitOk : kExitInvalidPipeline;
}

}  // namespace

Command PipelineAdd() {
  return {.path = "pipeline add",
          .group = "Pipelines",
          .summary = "register the pipelines of a git repository",
          .examples = {"pipeline add .",
                       "pipeline add /srv/git/cars.git --branch main --file cars.cd4ml.yaml"},
          .operands = {{"REPO", "path of a git repository on the daemon's host"}},
          .options = {{"--branch", "NAME", "branch to follow; without it: the repository's HEAD"},
                      {"--file", "PATH", "only this definition; without it: every *.cd4ml.yaml"}},
          .perform = Perform};
}

}  // namespace cd4ml::cli
