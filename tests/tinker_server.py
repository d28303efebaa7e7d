"""A server on this machine that speaks Tinker's verbs as the package tinker asks them, over a cluster of this process.

Requests for passes and answers of passes and samples are protocol buffers of the package; all else is JSON.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
from here_cluster import HereCluster, HereDrawer, HereLearner

from togi.models.lora_and_optimiser import Optimiser
from togi.types import Sampling

KEY = "tml-0123456789abcdef"
Refuse = Callable[[str, Any], "tuple[int, str] | None"]


class Service(ThreadingHTTPServer):
    """``refuse`` says, of a verb and its request, with which status and words it fails; ``paths`` is what was asked."""

    daemon_threads = True

    def __init__(self, cluster: HereCluster, refuse: Refuse) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.cluster, self.refuse = cluster, refuse
        self.paths: list[str] = []
        self.told: list[str] = []  # the bodies of all requests, as text
        self.learners: dict[str, HereLearner] = {}
        self.drawers: dict[str, HereDrawer] = {}
        self.results: dict[str, bytes | dict[str, Any]] = {}
        self.lock = threading.Lock()
        self.closing = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, *_: Any) -> None:
        return

    def later(self, result: bytes | dict[str, Any]) -> dict[str, Any]:
        name = f"request-{len(self.results)}"
        self.results[name] = result
        return {"request_id": name}

    def answer(self, verb: str, body: Any) -> bytes | dict[str, Any]:
        ask = getattr(self, f"_{verb}", None)
        return ask(body) if ask else {}

    def _create_session(self, _: Any) -> dict[str, Any]:
        return {"type": "create_session", "session_id": "session"}

    def _create_model(self, body: Any) -> dict[str, Any]:
        name = f"{body['session_id']}:train:{body['model_seq_id']}"
        lora = body["lora_config"]
        self.learners[name] = self.cluster.new(rank=lora["rank"], seed=lora["seed"])
        return self.later({"type": "create_model", "model_id": name})

    def _load_weights(self, body: Any) -> dict[str, Any]:
        name = f"{body['session_id']}:train:{body['model_seq_id']}"
        self.learners[name] = self.cluster.from_state(body["path"], moments=body["optimizer"])
        return self.later({"type": "load_weights", "path": body["path"]})

    def _get_info(self, body: Any) -> dict[str, Any]:
        return {"type": "get_info", "model_id": body["model_id"], "model_data": {"model_name": "tiny"}}

    def _optim_step(self, body: Any) -> dict[str, Any]:
        adam = body["adam_params"]
        assert adam["eps"] == 1e-8
        optimiser = Optimiser(
            betas=(adam["beta1"], adam["beta2"]), weight_decay=adam["weight_decay"], clip_norm=adam["grad_clip_norm"]
        )
        self.learners[body["model_id"]].update(adam["learning_rate"], optimiser)
        return self.later({"metrics": {}})

    def _save_weights(self, body: Any) -> dict[str, Any]:
        return self.later({"type": "save_weights", "path": self.learners[body["model_id"]].save(body["path"])})

    def _save_weights_for_sampler(self, body: Any) -> dict[str, Any]:
        learner = self.learners[body["model_id"]]
        if body.get("path"):
            return self.later({"type": "save_weights_for_sampler", "path": learner.save_to_draw(body["path"])})
        name = f"sampler-{len(self.drawers)}"
        self.drawers[name] = learner.drawer()
        return self.later({"type": "save_weights_for_sampler", "sampling_session_id": name})

    def _create_sampling_session(self, body: Any) -> dict[str, Any]:
        name = f"sampler-{len(self.drawers)}"
        self.drawers[name] = self.cluster.drawer(body.get("model_path"))
        return {"type": "create_sampling_session", "sampling_session_id": name}

    def _asample(self, body: Any) -> dict[str, Any]:
        from tinker.proto import tinker_public_pb2 as wire

        how, attempts = body["sampling_params"], body["num_samples"]
        sampling = Sampling(temperature=how["temperature"], top_p=how["top_p"], top_k=max(0, how["top_k"]))
        ids = tuple(token for chunk in body["prompt"]["chunks"] for token in chunk["tokens"])
        drawn = (
            self.drawers[body["sampling_session_id"]]
            .draw(ids, attempts, seed=how["seed"], limit=how["max_tokens"], sampling=sampling, ends=how["stop"])
            .result()
        )
        answer = wire.SampleResponse()
        for each in drawn:
            sequence = answer.sequences.add()
            sequence.tokens = np.array(each.ids, np.int32).tobytes()
            sequence.logprobs = np.array(each.logp, np.float32).tobytes()
            sequence.stop_reason = wire.STOP_REASON_STOP if each.ended == "stop" else wire.STOP_REASON_LENGTH
        names = [f"sequence-{number}" for number in range(attempts)]
        return self.later(answer.SerializeToString()) | {"sample_sequence_ids": names}

    def _forward_backward(self, body: bytes) -> dict[str, Any]:
        from tinker.proto import tinker_public_pb2 as wire

        asked = wire.ForwardBackwardRequest()
        asked.ParseFromString(body)
        assert asked.loss_fn == "cross_entropy"
        rows, weights = [], []
        for datum in asked.data:
            [chunk] = datum.model_input
            seen = np.frombuffer(chunk.encoded_text.tokens, np.int32)
            target = np.frombuffer(datum.loss_fn_inputs["target_tokens"].dense, np.int64)
            assert (seen[1:] == target[:-1]).all()
            rows.append(np.concatenate([seen[:1].astype(np.int64), target]))
            weight = np.frombuffer(datum.loss_fn_inputs["weights"].dense, np.float32)
            weights.append(np.concatenate([np.zeros(1, np.float32), weight]))
        learner = self.learners[asked.model_id]
        if not asked.forward_only:
            learner.backward(rows, weights)
        told = [np.asarray(each[1:], np.float32) for each in learner.logps(rows)]
        answer = wire.ForwardBackwardOutput()
        answer.loss_fn_output_type = "ArrayRecord"
        record = answer.loss_fn_outputs.add()
        record.num_datums = len(told)
        field = record.fields["logprobs"]
        field.dtype = wire.DTYPE_FLOAT32
        field.data = b"".join(each.tobytes() for each in told)
        field.offsets = np.cumsum([0, *(each.nbytes for each in told)]).astype(np.int64).tobytes()
        answer.metrics["loss:sum"] = 0.0
        return self.later(answer.SerializeToString())

    def _retrieve_future(self, body: Any) -> bytes | dict[str, Any]:
        return self.results[body["request_id"]]


class _Handler(BaseHTTPRequestHandler):
    server: Service

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers["Content-Length"]))
        server, verb = self.server, self.path.rpartition("/")[2]
        with server.lock:
            server.paths.append(self.path)
            server.told.append(raw.decode("latin-1"))
            body = raw if "protobuf" in self.headers["Content-Type"] else json.loads(raw)
            refused = (401, "no such key") if self.headers["X-API-Key"] != KEY else server.refuse(verb, body)
            if refused is None:
                found: bytes | dict[str, Any] = server.answer(verb, body)
            else:
                found = {"error": refused[1], "category": "user"}
        if refused and refused[0] == 0:  # no answer at all
            server.closing.wait(5)
            return
        self._send(refused[0] if refused else 200, found)

    def do_GET(self) -> None:
        """What a snapshot is of; nothing else is asked so."""
        assert "/samplers/" in self.path
        found = {"sampler_id": self.path.rpartition("/")[2], "base_model": "tiny"}
        self._send(200, found)

    def _send(self, status: int, found: bytes | dict[str, Any]) -> None:
        content = found if isinstance(found, bytes) else json.dumps(found).encode()
        self.send_response(status)
        kind = "application/x-protobuf" if isinstance(found, bytes) else "application/json"
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        return


@contextmanager
def speaking_tinker(cluster: HereCluster, refuse: Refuse = lambda verb, body: None) -> Iterator[Service]:
    server = Service(cluster, refuse)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()
