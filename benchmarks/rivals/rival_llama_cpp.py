"""Worker: llama.cpp through llama-cpp-python. MODEL is a .gguf file."""
import argparse
import time

import llama_cpp
import numpy as np

import worker


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--threads", type=int, required=True)
    options = parser.parse_args()
    model = llama_cpp.Llama(options.model, n_ctx=2048, n_batch=512, n_ubatch=512, n_threads=options.threads,
                            n_threads_batch=options.threads, n_gpu_layers=0, verbose=False)
    vocabulary = model.n_vocab()

    def greedy():
        logits = llama_cpp.llama_get_logits_ith(model.ctx, -1)
        return int(np.ctypeslib.as_array(logits, shape=(vocabulary,)).argmax())

    def run(ids):
        model.eval(ids)
        return greedy()

    def measure(prefill, prompt, decode):
        ids = worker.prompt_ids(prefill, vocabulary)
        model.reset()
        start = time.perf_counter()
        run(ids)
        prefill_s = time.perf_counter() - start
        model.reset()
        made = [run(ids[:prompt])]
        start = time.perf_counter()
        for _ in range(decode):
            made.append(run([made[-1]]))
        return {"prefill_s": prefill_s, "decode_s": time.perf_counter() - start, "ids": made[:decode]}

    worker.serve(f"llama-cpp-python {llama_cpp.__version__}", measure)


if __name__ == "__main__":
    main()
