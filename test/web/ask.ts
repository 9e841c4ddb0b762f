/** @file Requests as any program could send them, with whatever headers. */

import { once } from "node:events";
import { type IncomingHttpHeaders, request } from "node:http";
import { connect } from "node:net";
import { encodePng } from "#laurel/image/png";
import { paint } from "../backends/servers/webui-server.js";

/** An answer. */
export interface Told {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
  // eslint-disable-next-line @typescript-eslint/no-explicit-any
  readonly json: any;
}

/** Sends one request on a connection of its own. */
export function ask(
  url: string,
  path: string,
  options: {
    readonly method?: string;
    readonly headers?: Readonly<Record<string, string>>;
    readonly body?: string | Uint8Array;
    readonly signal?: AbortSignal;
  } = {},
): Promise<Told> {
  const { method = options.body === undefined ? "GET" : "POST", headers = {}, body, signal } = options;
  return new Promise((resolve, reject) => {
    const sent = request(`${url}${path}`, { method, headers, agent: false, ...(signal && { signal }) }, (response) => {
      let text = "";
      response.setEncoding("utf8").on("data", (part: string) => (text += part));
      response.on("end", () => {
        const isJson = /json/.test(response.headers["content-type"] ?? "") && text !== "";
        resolve({ status: response.statusCode ?? 0, headers: response.headers, text, json: isJson ? JSON.parse(text) : undefined }); // prettier-ignore
      });
    });
    sent.on("error", reject);
    sent.end(body);
  });
}

/** Sends JSON. */
export function post(
  url: string,
  path: string,
  value: unknown,
  headers: Readonly<Record<string, string>> = {},
): Promise<Told> {
  return ask(url, path, { body: JSON.stringify(value), headers: { "content-type": "application/json", ...headers } });
}

/** Sends `text` as it stands; resolves to all that comes back until the server ends the connection. */
export async function raw(url: string, text: string): Promise<string> {
  const { hostname, port } = new URL(url);
  const socket = connect(Number(port), hostname.replace(/[[\]]/g, ""));
  let got = "";
  socket.setEncoding("utf8").on("data", (part: string) => (got += part));
  socket.on("error", () => undefined).write(text);
  await once(socket, "close");
  return got;
}

/** PNG files of one colour each, by their brightness of 255. */
export function greys(...levels: readonly number[]): Promise<Buffer[]> {
  const size = { width: 8, height: 8 };
  const grey = (level: number) => ({ ...size, data: new Uint8Array(8 * 8 * 3).fill(level) });
  return Promise.all(levels.map(async (level) => Buffer.from(await encodePng(grey(level)))));
}

/** A picture of the demo world's size, by a seed. */
export async function picture(seed: number): Promise<Buffer> {
  return Buffer.from(await encodePng(paint(seed, { width: 64, height: 64 })));
}
