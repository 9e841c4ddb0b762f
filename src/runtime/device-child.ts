/** @file One life of a device process, seen from the parent: start, ask, kill, and learn how it died. */

import { fork } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { fileURLToPath } from "node:url";
import { END_OF_LOG, type Reply, type Request } from "./messages.js";
import { watchForStall } from "./stall.js";

const PROGRAM = fileURLToPath(new URL("./device-process.js", import.meta.url));
const STDERR_KEPT = 2000;
/** ONNX Runtime's log (1.30, session_state.cc): where the nodes named on the lines that follow were placed, and such a line. */
const PLACED = /VerifyEachNodeIsAssignedToAnEp\]\s+(?:All nodes|Node\(s\)) placed on \[(\w+?)ExecutionProvider\]/;
const NODE = /VerifyEachNodeIsAssignedToAnEp\]\s+(\w+) \(/;
/** Lines of its log that are neither warnings nor errors. */
const CHATTER = /\[[VIW]:onnxruntime:/;
/** Without it ONNX Runtime 1.29 and newer reports names and hashes of models to Microsoft, and leaves a log in the temporary folder. */
const NO_TELEMETRY = { ORT_DISABLE_TELEMETRY: "1" };
/**
 * For glibc: larger blocks go back to the system when they are freed. Left alone it learns to keep them, and the holes between them. A lower limit
 * saves more memory and costs more time, since each new block comes from the system zeroed.
 * Programs that keep their memory (the usual ones) ask for few and large blocks.
 */
const GIVE_BACK = { MALLOC_MMAP_THRESHOLD_: String(1 << 20) };

/** The device process died with a request unanswered; `cause` of it: "SIGKILL", "exit code 1", ... */
export class DeviceDeath extends Error {
  override readonly name = "DeviceDeath";
}

interface Pending {
  resolve(reply: Reply): void;
  reject(error: DeviceDeath): void;
}

/** A running device process. It holds the parent's event loop open only while a request is unanswered. */
export class DeviceChild {
  readonly #process: ChildProcess;
  #pending: Pending | undefined;
  #death: string | undefined;
  #stderr = "";
  /** The last line of the standard error, as far as it has come. */
  #line = "";
  /** Names of operators that ONNX Runtime said it placed on the cpu, since the last end of a log. */
  #onCpu = new Set<string>();
  #placing = false;
  readonly #logs: ReadonlySet<string>[] = [];
  #onLog: (() => void) | undefined;
  #endWatch: () => void = () => undefined;

  /** @param stallMs A process that was asked and takes no processor time for so long is ended. */
  constructor(private readonly stallMs: number) {
    this.#process = fork(PROGRAM, [], {
      serialization: "advanced",
      execArgv: [],
      env: { ...GIVE_BACK, ...process.env, ...NO_TELEMETRY },
      stdio: ["ignore", "ignore", "pipe", "ipc"],
    });
    this.#process.on("message", (reply: Reply) => {
      const pending = this.#settle();
      pending?.resolve(reply);
    });
    this.#process.on("error", (error) => this.#die(error.message));
    this.#process.on("exit", (code, signal) => this.#die(signal ?? `exit code ${code}`));
    this.#process.stderr?.setEncoding("utf8").on("data", (text: string) => this.#read(text));
    this.#hold(false);
  }

  /** False once the process has ended or was told to. */
  get alive(): boolean {
    return this.#death === undefined;
  }

  /** Process id, for tests and messages. */
  get pid(): number | undefined {
    return this.#process.pid;
  }

  /** Asks; one request at a time. @throws DeviceDeath when the process ends before it answers. */
  request(request: Request): Promise<Reply> {
    return new Promise((resolve, reject) => {
      if (this.#death !== undefined) return reject(new DeviceDeath(this.#death));
      // Throws for what cannot be cloned.
      this.#process.send(request, (error) => {
        // The exit that follows says more; without one the channel alone is broken.
        if (error !== null) setTimeout(() => this.#die(error.message), 100);
      });
      this.#pending = { resolve, reject };
      this.#hold(true);
      const { pid } = this.#process;
      if (pid !== undefined) this.#endWatch = watchForStall(pid, this.stallMs, () => this.#stalled());
    });
  }

  /** Operators that the program compiled last runs on the cpu. Ask once for each reply that says that there are some. */
  async fallbacks(): Promise<ReadonlySet<string>> {
    while (this.#logs.length === 0) {
      if (this.#death !== undefined) throw new DeviceDeath(this.#death);
      this.#hold(true);
      await new Promise<void>((resolve) => (this.#onLog = resolve));
    }
    this.#hold(false);
    return this.#logs.shift() as ReadonlySet<string>;
  }

  /** Ends the process at once, also in the middle of a native call. */
  kill(): void {
    this.#process.kill("SIGKILL");
    this.#die("SIGKILL");
  }

  /** Keeps what is said in earnest; of what is told at the lowest level, only where operators were placed. */
  #read(text: string): void {
    const lines = (this.#line + text).split("\n");
    this.#line = lines.pop()!;
    for (const line of lines) {
      const place = PLACED.exec(line);
      const node = NODE.exec(line);
      if (place !== null) this.#placing = place[1] === "CPU";
      else if (node !== null && this.#placing) this.#onCpu.add(node[1]!);
      else if (line === END_OF_LOG) this.#endLog();
      else if (!CHATTER.test(line)) this.#stderr = `${this.#stderr}${line}\n`.slice(-STDERR_KEPT);
    }
  }

  #endLog(): void {
    this.#logs.push(this.#onCpu);
    [this.#onCpu, this.#placing] = [new Set(), false];
    this.#onLog?.();
  }

  #stalled(): void {
    this.#process.kill("SIGKILL");
    this.#die(`no sign of work for ${this.stallMs / 1000} s`);
  }

  #die(reason: string): void {
    if (this.#death !== undefined) return;
    const lines = (this.#stderr + this.#line).trim().split("\n");
    const said = lines.findLast((line) => /error|memory/i.test(line)) ?? lines.at(-1) ?? "";
    this.#death = said === "" ? reason : `${reason}: ${said.trim()}`;
    if (this.#process.connected) this.#process.disconnect();
    this.#onLog?.();
    this.#settle()?.reject(new DeviceDeath(this.#death));
  }

  #settle(): Pending | undefined {
    const pending = this.#pending;
    this.#pending = undefined;
    this.#endWatch();
    this.#hold(false);
    return pending;
  }

  #hold(open: boolean): void {
    const change = open ? "ref" : "unref";
    this.#process[change]();
    this.#process.channel?.[change]();
    (this.#process.stderr as unknown as { ref(): void; unref(): void } | null)?.[change]();
  }
}
