/** @file Redis and PostgreSQL for tests: on free ports, in temporary folders, gone afterwards. */

import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { chmodSync, chownSync, existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";

/** A server under test. */
export interface TestServer {
  readonly port: number;
  readonly address: string;
  /** Ends at once, as by a power cut; what it had written stays. */
  kill(): Promise<void>;
  start(): Promise<void>;
  /** Ends it and removes what it wrote. */
  remove(): Promise<void>;
}

const POSTGRES_FOLDER = "/usr/lib/postgresql";
/** PostgreSQL refuses to be root's. */
const NOBODY = 65534;

function find(program: string): string | undefined {
  const versions = existsSync(POSTGRES_FOLDER) ? readdirSync(POSTGRES_FOLDER).sort().reverse() : [];
  const folders = [...(process.env["PATH"] ?? "").split(delimiter), ...versions.map((v) => join(POSTGRES_FOLDER, v, "bin"))]; // prettier-ignore
  return folders.map((folder) => join(folder, program)).find((path) => existsSync(path));
}

/** Why tests with a server are skipped, or undefined when they can run. LAUREL_REQUIRE_SERVERS=1 makes a missing program an error. */
function missing(...programs: readonly string[]): string | undefined {
  const absent = programs.filter((program) => find(program) === undefined);
  if (absent.length === 0) return undefined;
  const why = `${absent.join(", ")} not installed`;
  if (process.env["LAUREL_REQUIRE_SERVERS"] === "1") throw new Error(`LAUREL_REQUIRE_SERVERS=1, but ${why}`);
  return why;
}

/** Why Redis cannot be tested here. */
export const noRedis = (): string | undefined => missing("redis-server");

/** Why PostgreSQL cannot be tested here. */
export const noPostgres = (): string | undefined =>
  missing("initdb", "postgres", ...(process.getuid?.() === 0 ? ["setpriv"] : []));

/** A port that nothing listens on. */
export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** Starts Redis; it keeps nothing on disk unless `settings` say so. */
export async function startRedis(settings: readonly string[] = []): Promise<TestServer> {
  const port = await freePort();
  const folder = mkdtempSync(join(tmpdir(), "laurel-redis-"));
  const server = new Program(port, folder, () =>
    spawn(
      find("redis-server")!,
      ["--port", `${port}`, "--bind", "127.0.0.1", "--dir", folder, "--save", "", ...settings],
      { stdio: "ignore" },
    ),
  );
  await server.start();
  return server.as(`redis://127.0.0.1:${port}`);
}

/** Creates and starts a PostgreSQL of its own. */
export async function startPostgres(): Promise<TestServer> {
  const port = await freePort();
  const folder = mkdtempSync(join(tmpdir(), "laurel-postgres-"));
  const root = process.getuid?.() === 0;
  if (root) chownSync(folder, NOBODY, NOBODY);
  chmodSync(folder, 0o700);
  const as = (program: string, ...rest: readonly string[]): readonly [string, readonly string[]] =>
    root
      ? [find("setpriv")!, [`--reuid=${NOBODY}`, `--regid=${NOBODY}`, "--clear-groups", find(program)!, ...rest]]
      : [find(program)!, rest];
  const [data, password] = [join(folder, "data"), join(folder, "password")];
  const [program, rest] = as("initdb", "-D", data, "-U", "postgres", "-A", "scram-sha-256", "--no-sync", "--no-instructions", `--pwfile=${password}`, "-E", "UTF8", "--locale=C"); // prettier-ignore
  writeFileSync(password, "geheim-pg\n", { mode: 0o644 });
  execFileSync(program, rest, { cwd: folder, stdio: ["ignore", "ignore", "inherit"] });
  const server = new Program(port, folder, () => {
    const [run, words] = as("postgres", "-D", data, "-p", `${port}`, "-h", "127.0.0.1", "-k", folder, "-F", "-c", "max_connections=200", "-c", "shared_buffers=32MB"); // prettier-ignore
    return spawn(run, words, { cwd: folder, stdio: "ignore" });
  });
  await server.start();
  return server.as(`postgres://postgres:geheim-pg@127.0.0.1:${port}/postgres`);
}

class Program {
  #process: ChildProcess | undefined;

  constructor(
    readonly port: number,
    readonly folder: string,
    readonly run: () => ChildProcess,
  ) {}

  async start(): Promise<void> {
    this.#process = this.run();
    for (let attempt = 0; attempt < 400; attempt++) {
      if (await listens(this.port)) return;
      await new Promise((resolve) => setTimeout(resolve, 25));
    }
    throw new Error(`${this.folder}: expected a server on port ${this.port}, got none`);
  }

  async kill(signal: "SIGKILL" | "SIGQUIT"): Promise<void> {
    const running = this.#process;
    if (running === undefined || running.exitCode !== null || running.signalCode !== null) return;
    const gone = new Promise((resolve) => running.once("exit", resolve));
    running.kill(signal);
    await gone;
  }

  as(address: string): TestServer {
    // PostgreSQL's immediate shutdown loses as little as a power cut, and leaves no shared memory behind
    const signal = address.startsWith("redis") ? "SIGKILL" : "SIGQUIT";
    return {
      port: this.port,
      address,
      kill: async () => this.kill(signal),
      start: async () => this.start(),
      remove: async () => {
        await this.kill(signal);
        rmSync(this.folder, { recursive: true, force: true });
      },
    };
  }
}

async function listens(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ port, host: "127.0.0.1" });
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
}
