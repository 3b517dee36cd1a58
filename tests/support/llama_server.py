"""`llama-server -m MODEL --port PORT [--lora FILE]...` by the llama.cpp that the tests install: its server, without its program."""

import argparse
import signal

import xllamacpp

parser = argparse.ArgumentParser()
parser.add_argument("-m", required=True)
parser.add_argument("--port", type=int, required=True)
asked = parser.parse_args()

params = xllamacpp.CommonParams()
params.model.path = asked.m
params.n_ctx = 0
params.n_parallel = 1
params.n_gpu_layers = 0
params.hostnames = ["127.0.0.1"]
params.port = asked.port
params.warmup = False
server = xllamacpp.Server(params)
signal.sigwait([signal.SIGTERM, signal.SIGINT])
