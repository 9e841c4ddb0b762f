/** @file Bodies of requests, read within bounds, and answers. */

import type { IncomingMessage, OutgoingHttpHeaders, ServerResponse } from "node:http";
import { CancelledError } from "../errors.js";
import { Problem } from "./problem.js";

/** How long what is still sent of a refused body is thrown away, so that its sender gets to read the answer. */
const LINGER_MS = 1000;

/**
 * The body, once all of it is there.
 * @param most bytes
 * @param hold told of each part's bytes before it is kept; what it throws ends the reading
 * @throws Problem 413 as soon as it is known to be longer, 415 when it is compressed; CancelledError when its sender goes away
 */
export async function readBody(
  request: IncomingMessage,
  response: ServerResponse,
  most: number,
  hold: (bytes: number) => void,
): Promise<Buffer> {
  const { "content-length": length, "content-encoding": encoding = "identity", expect } = request.headers;
  if (encoding !== "identity") throw new Problem(415, `Content-Encoding: expected none, got ${encoding.slice(0, 40)}`);
  const tooLong = (got: string): Problem => new Problem(413, `body: expected at most ${most} bytes, got ${got}`);
  if (Number(length ?? 0) > most) throw tooLong(String(length));
  if (expect !== undefined) response.writeContinue();
  return new Promise((resolve, reject) => {
    const parts: Buffer[] = [];
    let size = 0;
    const take = (part: Buffer): void => {
      size += part.length;
      try {
        if (size > most) throw tooLong("more");
        hold(part.length);
        parts.push(part);
      } catch (error) {
        end(() => reject(error));
      }
    };
    const end = (settle: () => void): void => {
      request.off("data", take).off("end", finished).off("error", left).off("close", left);
      settle();
    };
    const finished = (): void => end(() => resolve(Buffer.concat(parts)));
    const left = (cause?: unknown): void =>
      end(() => reject(new CancelledError("body: expected all of it, got its sender's leave", { cause })));
    request.on("data", take).on("end", finished).on("error", left).on("close", left);
  });
}

/** Answers, and ends the connection where a part of the request was not read. */
export function answer(
  request: IncomingMessage,
  response: ServerResponse,
  { status, type, body, headers = {} }: Answer,
): void {
  if (response.headersSent || response.destroyed) return;
  const whole = request.complete;
  response.writeHead(status, {
    ...headers,
    "content-type": type,
    "content-length": Buffer.byteLength(body),
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    ...(whole ? {} : { connection: "close" }),
  });
  response.end(body);
  if (whole) return;
  // what a refused sender still sends is dropped for a while: a connection closed at once would take the answer with it
  request.resume();
  const linger = setTimeout(() => request.socket.destroy(), LINGER_MS);
  request.socket.once("close", () => clearTimeout(linger));
}

/** What is answered. */
export interface Answer {
  readonly status: number;
  readonly type: string;
  readonly body: string;
  readonly headers?: OutgoingHttpHeaders;
}

/** An answer in JSON. */
export function json(value: object, status = 200): Answer {
  return { status, type: "application/json", body: `${JSON.stringify(value)}\n` };
}

/** The answer that tells of a problem. */
export function problemAnswer(problem: Problem): Answer {
  const { headers = {} } = problem.more;
  const body = `${JSON.stringify(problem.body())}\n`;
  return { status: problem.status, type: "application/problem+json", body, headers };
}
