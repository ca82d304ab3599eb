// Messages and values with every field set, made by reflection: a field that a conversion forgets
// shows itself.
#pragma once

#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>

#include <string>

#include "cd4ml/base/check.h"
#include "rpc/convert.h"

namespace cd4ml::rpc {

// Sets every field to a value of its own; lists and maps get two elements.
class Filler {
 public:
  void Fill(google::protobuf::Message* message) {
    const auto* descriptor = message->GetDescriptor();
    for (int i = 0; i < descriptor->field_count(); ++i) {
      const auto* field = descriptor->field(i);
      for (int repeat = field->is_repeated() ? 2 : 1; repeat > 0; --repeat) Set(message, field);
    }
    if (auto* run = google::protobuf::DynamicCastToGenerated<v1::Run>(message)) Connect(run);
  }

 private:
  // Stages may need only what is in their run.
  static void Connect(v1::Run* run) {
    for (v1::StageRun& stage : *run->mutable_stages()) {
      for (std::string& need : *stage.mutable_plan()->mutable_needs())
        need = run->stages(0).plan().name();
    }
  }

  using Field = google::protobuf::FieldDescriptor;

  template <typename Setter, typename Adder, typename T>
  void Put(google::protobuf::Message* message, const Field* field, Setter set, Adder add, T value) {
    const auto* reflection = message->GetReflection();
    if (field->is_repeated()) {
      (reflection->*add)(message, field, value);
    } else {
      (reflection->*set)(message, field, value);
    }
  }

  void Set(google::protobuf::Message* message, const Field* field) {
    using Reflection = google::protobuf::Reflection;
    const auto* reflection = message->GetReflection();
    ++count_;
    switch (field->cpp_type()) {
      case Field::CPPTYPE_BOOL:
        return Put(message, field, &Reflection::SetBool, &Reflection::AddBool, true);
      case Field::CPPTYPE_INT32: {
        const bool is_nanos = field->name() == "nanos";
        return Put(message, field, &Reflection::SetInt32, &Reflection::AddInt32,
                   is_nanos ? 789'000'000 : count_);
      }
      case Field::CPPTYPE_INT64:
        return Put(message, field, &Reflection::SetInt64, &Reflection::AddInt64,
                   int64_t{count_} + 1'000'000'000);
      case Field::CPPTYPE_DOUBLE:
        return Put(message, field, &Reflection::SetDouble, &Reflection::AddDouble, count_ + 0.25);
      case Field::CPPTYPE_ENUM: {
        const auto* type = field->enum_type();
        return Put(message, field, &Reflection::SetEnum, &Reflection::AddEnum,
                   type->value(1 + count_ % (type->value_count() - 1)));
      }
      case Field::CPPTYPE_STRING:
        return SetText(message, field);
      case Field::CPPTYPE_MESSAGE:
        return Fill(field->is_repeated() ? reflection->AddMessage(message, field)
                                         : reflection->MutableMessage(message, field));
      default:
        CheckFailed(__FILE__, __LINE__, "a known type", field->full_name());
    }
  }

  void SetText(google::protobuf::Message* message, const Field* field) {
    const std::string number = std::to_string(count_);
    std::string text = field->name() + " " + number;
    if (field->name().ends_with("digest") || field->name() == "definition") {
      text = std::string(64 - number.size(), 'a') + number;
    } else if (field->name().ends_with("_json")) {
      text = R"({"list":[null,true,7,2.5,3.0,"text"],"number":)" + number + "}";
    }
    Put(message, field, &google::protobuf::Reflection::SetString,
        &google::protobuf::Reflection::AddString, std::move(text));
  }

  int count_ = 0;
};

template <typename P>
P Filled() {
  P message;
  Filler().Fill(&message);
  return message;
}

// Returns a core or port value with every field set, by way of its message.
template <typename P>
auto FilledValue() {
  auto value = FromProto(Filled<P>());
  CD4ML_CHECK(value.ok(), value.status().ToString());
  return *std::move(value);
}

// Returns `value` as text that differs when any field differs.
template <typename T>
std::string TextOf(const T& value) {
  return ToProto(value).DebugString();
}

}  // namespace cd4ml::rpc
