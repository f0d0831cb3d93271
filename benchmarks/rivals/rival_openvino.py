"""Worker: OpenVINO on the CPU. MODEL is a folder that make_openvino.py wrote."""
import argparse
import os
import time

import numpy as np
import openvino
from openvino import opset13 as ops

import worker


def last_token_only(model):
    """Logits of the last token alone, as every other engine computes them."""
    node = model.get_results()[0]
    while node.get_type_name() != "MatMul":
        node = node.input_value(0).get_node()
    last = ops.gather(node.input_value(0), ops.constant([-1]), ops.constant(1))
    node.input(0).replace_source_output(last.output(0))
    model.validate_nodes_and_infer_types()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--precision", choices=["bf16", "f32"], required=True)
    parser.add_argument("--threads", type=int, required=True)
    options = parser.parse_args()
    core = openvino.Core()
    model = core.read_model(os.path.join(options.model, "openvino_model.xml"))
    last_token_only(model)
    compiled = core.compile_model(model, "CPU", {
        "INFERENCE_PRECISION_HINT": options.precision, "INFERENCE_NUM_THREADS": options.threads, "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY", "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0,  # activations stay floats
        "KV_CACHE_PRECISION": "f16" if options.precision == "bf16" else "f32"})
    request = compiled.create_infer_request()
    vocabulary = model.output("logits").get_partial_shape()[2].get_length()
    beam = np.zeros(1, np.int32)

    def run(ids, past):
        request.infer({
            "input_ids": np.array([ids], np.int64), "attention_mask": np.ones((1, past + len(ids)), np.int64),
            "position_ids": np.arange(past, past + len(ids), dtype=np.int64)[None], "beam_idx": beam})
        return int(request.get_tensor("logits").data[0, -1].argmax())

    def measure(prefill, prompt, decode):
        ids = worker.prompt_ids(prefill, vocabulary)
        request.reset_state()
        start = time.perf_counter()
        run(ids, 0)
        prefill_s = time.perf_counter() - start
        request.reset_state()
        made = [run(ids[:prompt], 0)]
        start = time.perf_counter()
        for i in range(decode):
            made.append(run([made[-1]], prompt + i))
        return {"prefill_s": prefill_s, "decode_s": time.perf_counter() - start, "ids": made[:decode]}

    worker.serve(f"OpenVINO {openvino.__version__.split('-')[0]}", measure)


if __name__ == "__main__":
    main()
