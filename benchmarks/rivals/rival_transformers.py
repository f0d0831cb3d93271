"""Worker: transformers on torch. MODEL is a folder, or mistral-7b:layers=N for random weights of that shape."""
import argparse
import os
import time

import torch
import transformers

import worker

MISTRAL_7B = {
    "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 14336, "num_attention_heads": 32,
    "num_key_value_heads": 8, "max_position_embeddings": 32768, "rms_norm_eps": 1e-5, "rope_theta": 1e6,
    "sliding_window": None, "tie_word_embeddings": False}


def load(name, dtype):
    if not name.startswith("mistral-7b:layers="):
        return transformers.AutoModelForCausalLM.from_pretrained(name, dtype=dtype, local_files_only=True)
    config = transformers.MistralConfig(num_hidden_layers=int(name.split("=")[1]), **MISTRAL_7B)
    torch.manual_seed(1)
    torch.set_default_dtype(dtype)
    return transformers.AutoModelForCausalLM.from_config(config, dtype=dtype)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--dtype", choices=["bfloat16", "float32", "float16"], required=True)
    parser.add_argument("--threads", type=int, required=True)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    model = load(options.model, getattr(torch, options.dtype)).eval()
    vocabulary = model.config.vocab_size

    def forward(ids, cache):
        out = model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
        return out.logits[:, -1].argmax(-1, keepdim=True), out.past_key_values

    @torch.inference_mode()
    def measure(prefill, prompt, decode):
        ids = torch.tensor([worker.prompt_ids(prefill, vocabulary)])
        start = time.perf_counter()
        forward(ids, transformers.DynamicCache(config=model.config))
        prefill_s = time.perf_counter() - start
        chosen, cache = forward(ids[:, :prompt], transformers.DynamicCache(config=model.config))
        made = [int(chosen)]
        start = time.perf_counter()
        for _ in range(decode):
            chosen, cache = forward(chosen, cache)
            made.append(int(chosen))
        return {"prefill_s": prefill_s, "decode_s": time.perf_counter() - start, "ids": made[:decode]}

    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    worker.serve(f"transformers {transformers.__version__}, torch {torch.__version__}", measure)


if __name__ == "__main__":
    main()
