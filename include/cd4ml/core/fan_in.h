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
};

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

// Chooses for each upstream the newest candidate such that all agree with each other and with `fixed`; the first upstream
// gets the newest one that allows this, then the second, and so on.
FanIn ResolveFanIn(const std::vector<Upstream>& upstreams, const Revisions& fixed);

}  // namespace cd4ml::core
