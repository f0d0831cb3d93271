// The run record: one JSON object that says what was measured, on what, and every raw sample, so that a result can be
// compared and run again. Keys are the field's terms with units; the schema's name changes when their meaning does.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "compute/probe.h"
#include "session/session.h"

namespace updraft::measure {

inline constexpr const char* kRunRecordSchema = "updraft.run/1";

nlohmann::ordered_json build_facts();    // version, compiler, architecture
nlohmann::ordered_json machine_facts();  // processor, processors, memory, operating system
nlohmann::ordered_json model_facts(session::Session&, const session::LoadOptions&);
nlohmann::ordered_json memory_facts(session::Session&);
nlohmann::ordered_json bandwidth_facts(const compute::ReadBandwidth& before, const compute::ReadBandwidth& after);
std::string utc_now();  // "2026-11-23T15:04:05Z"

// 16 hex digits over the names and sizes of the files that make a model (weights, configuration, tokenizer, template),
// all of each small one, both ends and pieces all over each large one; for a synthetic model over its configuration and
// seed.
std::string model_hash(const checkpoint::Checkpoint&, const session::LoadOptions&);

// Reads a record from a file; throws Error when it is not one.
nlohmann::ordered_json read_run_record(const std::string& path);

}  // namespace updraft::measure
