"""`llama-server -m MODEL --port PORT [--mmproj FILE] [--lora FILE]...` by the llama.cpp that the tests install.

Its server, without its program.
"""

import argparse
import signal

import xllamacpp

parser = argparse.ArgumentParser()
parser.add_argument("-m", required=True)
parser.add_argument("--port", type=int, required=True)
parser.add_argument("--lora", action="append", default=[])
parser.add_argument("--mmproj", default="")
asked = parser.parse_args()

params = xllamacpp.CommonParams()
params.model.path = asked.m
params.n_ctx = 0
params.n_parallel = 1
params.n_gpu_layers = 0
params.hostnames = ["127.0.0.1"]
params.port = asked.port
params.warmup = False
params.mmproj.path = asked.mmproj
params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(path, 1.0) for path in asked.lora]
server = xllamacpp.Server(params)
signal.sigwait([signal.SIGTERM, signal.SIGINT])
