// Which results of other pipelines belong together: one revision of everything that they and the run share.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "cd4ml/core/run.h"

namespace cd4ml::core {

// By source (a repository, a place of data, another pipeline's output): the revision that was used.
using Revisions = std::map<std::string, std::string>;

// A run that made what a material asks for, and everything that it was made from, also through others.
struct Candidate {
  RunId run;
  Revisions used;
  std::string mixed = {};              // Why these do not belong together, to go behind "RUN "; empty: they do.
};

// Notes that `candidate` is made from `source` at `revision`, which `by` used.
void AddUsed(Candidate& candidate, const RunId& by, const std::string& source, const std::string& revision);

// Notes the mark of `by`, which is the candidate or lies behind it: what is made of a mix is one.
void AddMark(Candidate& candidate, const RunId& by, const std::string& mark);

// Returns what is said of a material that `candidate` makes and whose revisions do not belong together.
std::string MixedText(const std::string& material, const Candidate& candidate);

// A material that another pipeline makes.
struct Upstream {
  std::string material;
  std::vector<Candidate> candidates;   // Newest first; not empty.
};

struct FanIn {
  std::vector<size_t> chosen;          // For each upstream, which candidate.
  Revisions shared;                    // What the chosen ones and `fixed` agree on.
  std::string conflict;                // Empty: they agree. Otherwise in words, and the newest of each are chosen.
};

// Chooses for each upstream the newest candidate that is not mixed, such that all agree with each other and with `fixed`; the
// first upstream gets the newest one that allows this, then the second, and so on.
FanIn ResolveFanIn(const std::vector<Upstream>& upstreams, const Revisions& fixed);

}  // namespace cd4ml::core
