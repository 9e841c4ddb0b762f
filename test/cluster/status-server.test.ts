/** @file What a worker serves of itself, to whoever asks. */

import { connect } from "node:net";
import { expect, onTestFinished, test } from "vitest";
import { serveStatus, WorkerMetrics } from "#laurel/cluster/status-server";

/** The first line of what is answered to a request that no client would make. */
async function answerTo(port: number, request: string): Promise<string> {
  const socket = connect(port, "127.0.0.1");
  socket.write(`${request} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n`);
  let answer = "";
  for await (const bytes of socket) answer += String(bytes);
  return answer.split("\r\n", 1)[0]!;
}

test("no request ends the worker", async () => {
  const { url, close } = await serveStatus(new WorkerMetrics("w", ["score"]), "0");
  onTestFinished(close);
  const port = Number(new URL(url).port);
  for (const path of ["//", "///healthz", "http://", "/%", "*", "/healthzz"]) {
    expect(await answerTo(port, `GET ${path}`)).toBe("HTTP/1.1 404 Not Found");
  }
  expect(await answerTo(port, "POST /metrics")).toBe("HTTP/1.1 405 Method Not Allowed");
  expect(await answerTo(port, "GET /healthz?x=//")).toBe("HTTP/1.1 503 Service Unavailable");
  expect(await answerTo(port, "HEAD /metrics")).toBe("HTTP/1.1 200 OK");
});
