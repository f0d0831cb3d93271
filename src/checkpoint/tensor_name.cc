#include "checkpoint/tensor_name.h"

namespace updraft::checkpoint {

std::string canonical_tensor_name(std::string_view stored) {
  for (const std::string_view buffer : {".rotary_emb.inv_freq", ".attention.masked_bias"})
    if (stored.ends_with(buffer)) return "";
  for (const std::string_view wrapper : {"model.language_model.", "language_model."}) {
    if (!stored.starts_with(wrapper)) continue;
    stored.remove_prefix(wrapper.size());
    break;
  }
  for (const std::string_view whole : {"model.", "lm_head."})
    if (stored.starts_with(whole)) return std::string(stored);
  for (const std::string_view part : {"layers.", "embed_tokens.", "norm."})
    if (stored.starts_with(part)) return "model." + std::string(stored);
  return std::string(stored);
}

}  // namespace updraft::checkpoint
