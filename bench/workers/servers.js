/** @file The servers that the benchmarks of workers need, each in a process or a folder of its own: queues, an S3 storage, a way to cut it off, a backend that sleeps. */

import { spawn, spawnSync } from "node:child_process";
import { chmod, chown, mkdir } from "node:fs/promises";
import { createServer as createHttpServer } from "node:http";
import { connect, createServer } from "node:net";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { encodePng } from "../../dist/image/png.js";
import { smallRandom } from "../../dist/util/statistics.js";
import { LAUREL } from "../measure.js";

/** Nobody, whose process PostgreSQL's has to be where this one is root's. */
const NOBODY = 65_534;

/** A port that is free now. */
export function freePort() {
  return new Promise((resolve, reject) => {
    const server = createServer().on("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

/** A queue server by its kind: `start` and `stop` as often as one likes, at one address, with its data kept. */
export async function queueServer(kind, folder) {
  const port = await freePort();
  const directory = join(folder, kind);
  await mkdir(directory, { recursive: true });
  return kind === "redis" ? redis(port, directory) : postgres(port, directory);
}

function redis(port, directory) {
  let child;
  return {
    address: `redis://127.0.0.1:${port}`,
    /** What the server counted: commands, scripts among them once each, and bytes that its clients sent and got. */
    counts() {
      const text = spawnSync("redis-cli", ["-p", String(port), "info"], { encoding: "utf8" }).stdout;
      const field = (name) => Number(new RegExp(`^${name}:(\\d+)`, "m").exec(text)?.[1] ?? Number.NaN);
      const decimal = (name) => Number(new RegExp(`^${name}:([\\d.]+)`, "m").exec(text)?.[1] ?? Number.NaN);
      return {
        commands: field("total_commands_processed"),
        bytesIn: field("total_net_input_bytes"),
        bytesOut: field("total_net_output_bytes"),
        memoryMb: field("used_memory") / 1e6,
        cpuSeconds: decimal("used_cpu_sys") + decimal("used_cpu_user"),
      };
    },
    async start() {
      const args = ["--port", port, "--bind", "127.0.0.1", "--dir", directory, "--save", "", "--appendonly", "yes"];
      child = spawn("redis-server", args.map(String), { stdio: "ignore" });
      await answering(port);
    },
    async stop() {
      child.kill("SIGTERM");
      await new Promise((resolve) => child.once("close", resolve));
    },
  };
}

async function postgres(port, directory) {
  const data = join(directory, "data");
  const asNobody = process.getuid?.() === 0 ? { uid: NOBODY, gid: NOBODY } : {};
  if ("uid" in asNobody) {
    await chown(directory, NOBODY, NOBODY);
    await chmod(join(directory, ".."), 0o711);
  }
  const made = spawnSync(postgresProgram("initdb"), ["-D", data, "-U", "laurel", "-A", "trust", "-N"], asNobody);
  if (made.status !== 0) throw new Error(`initdb: ${made.error ?? made.stderr}`);
  let child;
  return {
    address: `postgres://laurel@127.0.0.1:${port}/postgres`,
    async start() {
      const args = ["-D", data, "-p", String(port), "-h", "127.0.0.1", "-k", directory, "-c", "max_connections=200"];
      child = spawn(postgresProgram("postgres"), args, { stdio: "ignore", ...asNobody });
      await answering(port);
      await sleep(1000);
    },
    async stop() {
      child.kill("SIGINT");
      await new Promise((resolve) => child.once("close", resolve));
    },
  };
}

function postgresProgram(name) {
  const debian = [17, 16, 15, 14, 13].map((version) => `/usr/lib/postgresql/${version}/bin/${name}`);
  return debian.find((path) => existsSync(path)) ?? name;
}

/** An S3 server in a process of its own, and the way to it, which can be cut off. */
export async function s3Server() {
  const port = await freePort();
  const script = `const { startFauxqs } = await import("fauxqs"); await startFauxqs({ port: ${port}, host: "127.0.0.1", logger: false, init: undefined });`;
  const child = spawn(process.execPath, ["--input-type=module", "-e", script], {
    stdio: ["ignore", "ignore", "inherit"],
  });
  await answering(port);
  const created = await fetch(`http://127.0.0.1:${port}/laurel`, { method: "PUT" });
  if (!created.ok) throw new Error(`the bucket could not be made: ${created.status}`);
  const way = await cuttable(port);
  return {
    address: `s3://laurel/bench?endpoint=http://127.0.0.1:${way.port}&region=us-east-1&path-style=true`,
    environment: { AWS_ACCESS_KEY_ID: "bench", AWS_SECRET_ACCESS_KEY: "bench" },
    cut: way.cut,
    restore: way.restore,
    stop() {
      way.cut();
      child.kill("SIGKILL");
    },
  };
}

/** A port that leads to another until it is cut off. */
async function cuttable(target) {
  const sockets = new Set();
  const server = createServer((socket) => {
    const onward = connect(target, "127.0.0.1");
    for (const one of [socket, onward]) {
      sockets.add(one);
      one
        .on("error", () => undefined)
        .on("close", () => {
          sockets.delete(one);
          socket.destroy();
          onward.destroy();
        });
    }
    socket.pipe(onward).pipe(socket);
  });
  const port = await freePort();
  const restore = () => new Promise((resolve) => server.listen(port, "127.0.0.1", resolve));
  await restore();
  return {
    port,
    restore,
    cut() {
      server.close();
      for (const one of sockets) one.destroy();
    },
  };
}

/** A server of the OpenAI form whose pictures take `pictureMs` each, as many at once as are asked for. */
export async function sleepingBackend(pictureMs, side = 64) {
  // as hard to pack as a photograph: slow waves and a little noise
  const random = smallRandom(1);
  const wave = (i) => 128 + 80 * Math.sin(i / 91) + 6 * random();
  const data = Uint8Array.from({ length: side * side * 3 }, (_, i) => wave(i));
  const picture = Buffer.from(await encodePng({ width: side, height: side, data })).toString("base64");
  const answer = JSON.stringify({ created: 0, data: [{ b64_json: picture }] });
  const server = createHttpServer((request, response) => {
    request.resume();
    request.on("end", () => {
      setTimeout(() => response.writeHead(200, { "content-type": "application/json" }).end(answer), pictureMs);
    });
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${server.address().port}/v1`,
    stop: () => {
      server.close();
      server.closeAllConnections();
    },
  };
}

/** Runs the executable with a queue. `closed` resolves to its exit code, null after a kill, and what it said; `onOutput` is given what it and Node print. */
export function laurel(args, environment = {}, { nodeOptions = [], onOutput } = {}) {
  const child = spawn(process.execPath, [...nodeOptions, LAUREL, ...args.map(String)], {
    stdio: ["ignore", onOutput === undefined ? "ignore" : "pipe", "pipe"],
    env: { ...process.env, ...environment },
  });
  let stderr = "";
  child.stderr.setEncoding("utf8").on("data", (text) => (stderr = (stderr + text).slice(-20_000)));
  child.stdout?.setEncoding("utf8").on("data", onOutput);
  const closed = new Promise((resolve) => child.on("close", (code) => resolve({ code, stderr })));
  return { child, closed, said: () => stderr };
}

/** Workers of one kind; a killed one can be replaced. */
export class Fleet {
  #workers = [];

  constructor(args, environment) {
    this.args = args;
    this.environment = environment;
  }

  start(count) {
    for (let i = 0; i < count; i++) this.#workers.push(this.#one());
  }

  /** SIGKILL to one of them, and a new one in its place. */
  async kill(index) {
    const worker = this.#workers[index];
    worker.child.kill("SIGKILL");
    await worker.closed;
    this.#workers[index] = this.#one();
  }

  get size() {
    return this.#workers.length;
  }

  async stop() {
    for (const { child } of this.#workers) child.kill("SIGKILL");
    await Promise.all(this.#workers.map(({ closed }) => closed));
    this.#workers = [];
  }

  #one() {
    const worker = laurel(["worker", ...this.args], this.environment);
    void worker.closed.then(({ code, stderr }) => {
      if (code !== null && code !== 0) process.stderr.write(`a worker ended with ${code}: ${stderr}\n`);
    });
    return worker;
  }
}

async function answering(port) {
  for (let tries = 0; tries < 200; tries++) {
    const open = await new Promise((resolve) => {
      const socket = connect(port, "127.0.0.1", () => resolve(true)).on("error", () => resolve(false));
      socket.on("connect", () => socket.end());
    });
    if (open) return;
    await sleep(50);
  }
  throw new Error(`port ${port}: expected a server within 10 s, got none`);
}
