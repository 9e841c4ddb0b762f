/** @file Servers of this machine: listening, and where they then are. */

import type { Server } from "node:http";
import type { AddressInfo } from "node:net";
import { UsageError } from "../errors.js";

/** Has `server` listen. @param what names the place in the error @throws UsageError when the port or the address cannot be had */
export function listen(server: Server, host: string, port: number, what: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", (cause: NodeJS.ErrnoException) => {
      reject(new UsageError(`${what}: expected a free port of this machine, got ${cause.code ?? cause.message}`, { cause })); // prettier-ignore
    });
    server.listen(port, host, resolve);
  });
}

/** The address of a server that listens: `http://127.0.0.1:8787`. */
export function urlOf(server: Server): string {
  const { address, port, family } = server.address() as AddressInfo;
  return `http://${family === "IPv6" ? `[${address}]` : address}:${port}`;
}
