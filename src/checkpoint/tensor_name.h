// The names of tensors as Hugging Face's causal language models use them, whatever wrapper saved the file.
#pragma once

#include <string>
#include <string_view>

namespace updraft::checkpoint {

// "model.layers.0.self_attn.q_proj.weight" for it, for "layers.0..." (saved without the head), and for
// "language_model.model.layers.0...", "model.language_model.layers.0..." (saved inside a larger model).
// Empty: a buffer that old versions saved and that is computed anew (rotary_emb.inv_freq, masked_bias).
std::string canonical_tensor_name(std::string_view stored);

}  // namespace updraft::checkpoint
