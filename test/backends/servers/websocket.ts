/** @file The server's side of a WebSocket (RFC 6455), as far as tests need it: it sends texts and bytes, and closes. */

import { createHash } from "node:crypto";
import type { IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";

const MAGIC = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/** One open socket. */
export interface TestSocket {
  send(message: string | Uint8Array): void;
  /** Cuts the connection without a word. */
  drop(): void;
}

/** Answers the handshake. */
export function acceptSocket(request: IncomingMessage, socket: Duplex): TestSocket {
  const accept = createHash("sha1")
    .update(`${request.headers["sec-websocket-key"] ?? ""}${MAGIC}`)
    .digest("base64");
  socket.write(
    `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`,
  );
  socket.on("error", () => undefined);
  socket.on("data", (bytes: Buffer) => {
    // a close frame is answered with one
    if ((bytes[0]! & 0x0f) === 8) socket.end(Buffer.from([0x88, 0]));
  });
  return {
    send(message) {
      const body = Buffer.from(message as string);
      const opcode = typeof message === "string" ? 0x81 : 0x82;
      const head =
        body.length < 126
          ? Buffer.from([opcode, body.length])
          : Buffer.from([opcode, 126, body.length >> 8, body.length & 255]);
      if (!socket.destroyed) socket.write(Buffer.concat([head, body]));
    },
    drop: () => void socket.destroy(),
  };
}
