// Request settings as JSON: one spelling for a line of `generate --jsonl`, for the flags of the command line (which
// become such an object) and later for the server. Names are transformers' (max_new_tokens, top_p, ...) plus the OpenAI
// API's (stop, logit_bias, presence_penalty, frequency_penalty, logprobs).
#pragma once

#include <nlohmann/json.hpp>

#include "session/session.h"

namespace updraft::session {

// Applies `settings` over `request` (usually Session::default_request()). Throws Error naming the field that is
// unknown, of the wrong type or out of range. A field that is null is as if it were not there. Fields of the request
// itself: prompt, messages, ids, tools, template_variables, system.
void apply_settings(const nlohmann::ordered_json& settings, TextRequest& request);

// After apply_settings, for who wants what transformers does: a request that samples without a seed gets a fresh one,
// so that the same question may get another answer.
void draw_seed(const nlohmann::ordered_json& settings, TextRequest& request);

}  // namespace updraft::session
