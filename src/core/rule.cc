// What all rule forms have in common: a name of the form and a subject.
#include "cd4ml/core/rule.h"

namespace cd4ml::core {
namespace {

struct FormOf {
  std::string_view operator()(const RowsRule&) const { return "rows"; }
  std::string_view operator()(const ColumnsRule&) const { return "columns"; }
  std::string_view operator()(const ColumnRule&) const { return "column"; }
  std::string_view operator()(const UniqueRule&) const { return "unique"; }
  std::string_view operator()(const ShareRule&) const { return "share_of"; }
  std::string_view operator()(const SegmentsRule&) const { return "segments"; }
  std::string_view operator()(const DriftRule&) const { return "drift"; }
  std::string_view operator()(const KeyRule& rule) const { return rule.disjoint ? "disjoint_from" : "references"; }
  std::string_view operator()(const StatRule&) const { return "stat"; }
  std::string_view operator()(const FreshRule&) const { return "fresh"; }
  std::string_view operator()(const BalanceRule&) const { return "balance"; }
  std::string_view operator()(const SqlRule&) const { return "sql"; }
  std::string_view operator()(const MetricRule&) const { return "metric"; }
  std::string_view operator()(const FairnessRule&) const { return "fairness"; }
  std::string_view operator()(const CheckRule&) const { return "check"; }
  std::string_view operator()(const ProbeRule&) const { return "probe"; }
  std::string_view operator()(const ContractRule&) const { return "contract"; }
  std::string_view operator()(const LatencyRule&) const { return "latency"; }
  std::string_view operator()(const MemoryRule&) const { return "memory"; }
};

}  // namespace

std::string_view RuleForm(const RuleBody& body) { return std::visit(FormOf(), body); }

std::string_view Subject(const RuleBody& body) {
  return std::visit(
      [](const auto& rule) -> std::string_view {
        if constexpr (requires { rule.of; }) return rule.of;
        return {};
      },
      body);
}

}  // namespace cd4ml::core
