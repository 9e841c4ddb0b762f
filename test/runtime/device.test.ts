import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { afterAll, afterEach, describe, expect, test } from "vitest";
import * as g from "#laurel/graph/builder";
import { openDevice } from "#laurel/runtime/device";
import type { Device } from "#laurel/runtime/device";
import type { Tensor } from "#laurel/tensor/tensor";
import { float32, int64 } from "#laurel/tensor/tensor";

const INVOKED = new URL("./invoked.mjs", import.meta.url);

/** y = x w', z = -y. */
const linear = (name = "linear") => {
  const y = g.gemm(g.input("x", "float32", ["N", 2]), g.parameter("w", [2, 2]), undefined, { transB: true });
  return g.graph(name, { y, z: g.neg(y) });
};
const w = float32([2, 2], [1, 0, 0, 10]);
const x = float32([1, 2], [1, 2]);

/** A program whose run on `feed` takes many seconds. */
const slow = () => {
  const matrix = g.input("x", "float32", ["N", 512, 512]);
  let y = matrix;
  for (let index = 0; index < 200; index++) y = g.matMul(y, matrix);
  return g.graph("slow", { y: g.reduceSum(y, [1, 2], { keepDims: false }) });
};
const slowFeed = float32([16, 512, 512], new Float32Array(16 * 512 * 512));

const values = (tensor: Tensor | undefined) => Array.from(tensor?.data as Float32Array);
const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

/** A device for what does not end it, and one for each test that does. */
const shared = openDevice();
afterAll(() => shared.close());
let device = shared;
const open = (): Device => (device = openDevice());
afterEach(async () => {
  if (device !== shared) await device.close();
  device = shared;
});

describe("feeds are checked before the run", () => {
  const pair = () => {
    const a = g.input("a", "float32", ["N", 2]);
    return g.graph("pair", {
      y: g.add(g.reduceSum(a, [1], { keepDims: false }), g.cast(g.input("ids", "int64", ["N"]), "float32")),
      b: g.flatten2d(g.input("b", "float32", ["2*N", 1])),
    });
  };
  const good = { a: float32([2, 2], [1, 2, 3, 4]), ids: int64([2], [5, 6]), b: float32([4, 1], [0, 0, 0, 0]) };

  test.each<[string, Record<string, Tensor>, string]>([
    [
      "nothing",
      {},
      "program pair: a: expected float32[N,2], got nothing fed or bound; ids: expected int64[N], got nothing fed or bound; b: expected float32[2*N,1], got nothing fed or bound",
    ],
    ["a wrong dtype", { ...good, ids: float32([2], [5, 6]) }, "program pair: ids: expected int64[N], got float32[2]"],
    [
      "a wrong size",
      { ...good, a: float32([2, 3], [1, 2, 3, 4, 5, 6]) },
      "program pair: a: expected float32[N,2], got float32[2,3]",
    ],
    [
      "a wrong rank",
      { ...good, a: float32([4], [1, 2, 3, 4]) },
      "program pair: a: expected float32[N,2], got float32[4]",
    ],
    [
      "batches that disagree",
      { ...good, ids: int64([3], [5, 6, 7]) },
      "program pair: ids: expected int64[N] with N = 2 as in a, got int64[3]",
    ],
    [
      "a multiple that is none",
      { ...good, b: float32([3, 1], [0, 0, 0]) },
      "program pair: b: expected float32[2*N,1], got float32[3,1]",
    ],
    ["an unknown name", { ...good, c: x }, "program pair: c: expected one of a, ids, b, got an unknown name"],
    [
      "too few elements",
      { ...good, a: { ...good.a, data: new Float32Array(3) } },
      "program pair: a: expected 4 elements, got 3",
    ],
  ])("%s", async (_name, feeds, message) => {
    const program = await shared.compile(pair());
    await expect(program.run(feeds)).rejects.toThrow(expect.objectContaining({ name: "UsageError", message }));
    expect(values((await program.run(good))["y"])).toEqual([8, 13]);
    await program.dispose();
  });

  test("unknown outputs and bound tensors that do not fit are refused", async () => {
    const program = await device.compile(linear());
    await expect(program.run({ x, w }, { fetch: ["q"] })).rejects.toThrow(
      "program linear: expected outputs y, z, got q",
    );
    await expect(program.bind("w", x)).rejects.toThrow("program linear: w: expected float32[2,2], got float32[1,2]");
    await expect(program.bind("q", x)).rejects.toThrow("program linear: expected the name of a feed, got q");
    await expect(program.fetchBound("never")).rejects.toThrow(expect.objectContaining({ name: "BackendError" }));
  });

  test("a disposed program does not run", async () => {
    const program = await device.compile(linear());
    await program.dispose();
    await program.dispose();
    await expect(program.run({ x, w })).rejects.toThrow(
      "program linear: expected a living program, got a disposed one",
    );
  });
});

describe("bound tensors", () => {
  test("stand in for feeds, in every program of the device", async () => {
    const [one, two] = await Promise.all([device.compile(linear("one")), device.compile(linear("two"))]);
    await one.bind("w", w);
    expect(values((await two.run({ x }))["y"])).toEqual([1, 20]);
    expect(values((await two.run({ x, w: float32([2, 2], [0, 1, 1, 0]) }))["y"])).toEqual([2, 1]);
    expect(await one.fetchBound("w")).toEqual(w);
  });

  test("are copies", async () => {
    const program = await device.compile(linear());
    const own = float32([2, 2], [1, 0, 0, 1]);
    await program.bind("w", own);
    (own.data as Float32Array).fill(9);
    expect(values((await program.run({ x }))["y"])).toEqual([1, 2]);
  });

  test("hold outputs without returning them, and what is held feeds the next run", async () => {
    const program = await device.compile(linear());
    await program.bind("w", w);
    const first = await program.run({ x }, { hold: { y: "x" } });
    expect(Object.keys(first)).toEqual(["z"]);
    const second = await program.run({}, { hold: { y: "x" }, fetch: ["y"] });
    expect(values(second["y"])).toEqual([1, 200]);
    expect(values(await program.fetchBound("x"))).toEqual([1, 200]);
    expect(values((await program.run({}, { fetch: ["z"] }))["z"])).toEqual([-1, -2000]);
  });

  test("are changed in place by a module that runs in the device process", async () => {
    const program = await device.compile(linear());
    await program.bind("w", w);
    const seen = await device.invoke(INVOKED, { name: "w", factor: 2, add: "extra" });
    expect(seen).toEqual({ pid: device.pid, names: expect.arrayContaining(["w", "extra"]) as string[] });
    expect(values((await program.run({ x }))["y"])).toEqual([2, 40]);
    expect(values(await program.fetchBound("extra"))).toEqual([7, 8]);
    await device.invoke(INVOKED, { remove: "w" });
    await expect(program.run({ x })).rejects.toThrow("w: expected float32[2,2], got nothing fed or bound");
    await expect(device.invoke(INVOKED, { fail: "no good" })).rejects.toThrow("invoke invoked.mjs: no good");
    await expect(device.invoke(INVOKED, { uncloneable: true })).rejects.toThrow(
      /^invoke invoked\.mjs: .*could not be cloned/,
    );
    await expect(device.invoke(INVOKED, { add: () => 1 })).rejects.toThrow(
      /^internal: invoke invoked\.mjs: .*could not be cloned/,
    );
    expect(values(await program.fetchBound("extra"))).toEqual([7, 8]);
  });
});

describe("results", () => {
  test("do not depend on batch mates, bit for bit", async () => {
    const [kernel, size] = [g.parameter("k", [8, 4, 3, 3]), 4 * 16 * 16];
    const image = g.input("x", "float32", ["N", 4, 16, 16]);
    const tokens = g.transpose(
      g.reshape(g.silu(g.conv(image, kernel, undefined, { pads: [1, 1, 1, 1] })), ["N", 8, 256]),
      [0, 2, 1],
    );
    const mixed = g.multiHeadAttention(tokens, tokens, tokens, { heads: 2 });
    const y = g.gemm(g.flatten2d(mixed), g.parameter("w", [10, 2048]), undefined, { transB: true });
    const random = (count: number) => Float32Array.from({ length: count }, (_, index) => Math.sin(index * 12.9898) * 2);
    const weights = new Map([
      ["k", float32([8, 4, 3, 3], random(288))],
      ["w", float32([10, 2048], random(20480))],
    ]);
    const program = await device.compile(g.graph("network", { y }), { weights });
    const alone = new Map<number, number[]>();
    const pixels = random(7 * size);
    for (const batch of [1, 2, 3, 7]) {
      const { y: scores } = await program.run({ x: float32([batch, 4, 16, 16], pixels.slice(0, batch * size)) });
      expect(scores?.shape).toEqual([batch, 10]);
      for (let index = 0; index < batch; index++) {
        const row = values(scores).slice(index * 10, index * 10 + 10);
        expect(row).toEqual(alone.get(index) ?? row);
        alone.set(index, row);
      }
    }
    expect(Math.max(...(alone.get(0) as number[]).map(Math.abs))).toBeGreaterThan(0.1);
  });

  test("come in the order of asking, and time inside runs is counted", async () => {
    const program = await device.compile(linear());
    const results = await Promise.all(
      Array.from({ length: 20 }, (_, index) => program.run({ x: float32([1, 2], [index, 0]), w })),
    );
    expect(results.map(({ y }) => values(y)[0])).toEqual(Array.from({ length: 20 }, (_, index) => index));
    expect(program.runMs).toBeGreaterThan(0);
    expect(device.runMs).toBeGreaterThan(program.runMs);
    expect(device.compileMs).toBeGreaterThan(0);
  });

  test("a run that ONNX Runtime refuses names the program, the node and the line that built it", async () => {
    const table = g.parameter("table", [3, 2]);
    const program = await device.compile(g.graph("lookup", { y: g.gather(table, g.input("ids", "int64", ["N"])) }));
    const failing = program.run({ ids: int64([1], [5]), table: float32([3, 2], [1, 2, 3, 4, 5, 6]) });
    await expect(failing).rejects.toThrow(/^program lookup: .*Gather#0 \(runtime\/device\.test\.ts:\d+\)/s);
    await expect(failing).rejects.toThrow(expect.objectContaining({ name: "BackendError" }));
  });
});

describe("when the device process dies", () => {
  test("the run in flight is rejected and the next one starts another process", async () => {
    open();
    const [program, endless] = [await device.compile(linear()), await device.compile(slow())];
    await program.bind("w", w);
    const pid = device.pid as number;
    const running = endless.run({ x: slowFeed });
    const waiting = program.run({ x });
    setTimeout(() => process.kill(pid, "SIGKILL"), 300);
    const message = expect.stringMatching(
      /^program slow: expected the device process to answer, got its end \(SIGKILL/,
    ) as string;
    await expect(running).rejects.toThrow(expect.objectContaining({ name: "BackendError", message }));
    // Compiled again, and bound again from the copy.
    expect(values((await waiting)["y"])).toEqual([1, 20]);
    expect(device.pid).not.toBe(pid);
  });

  test("what only it held is missed by name, until it is bound again", async () => {
    const program = await open().compile(linear());
    await program.bind("w", w);
    await program.run({ x }, { hold: { y: "x" } });
    process.kill(device.pid as number, "SIGKILL");
    await expect(program.run({}, { hold: { y: "x" } })).rejects.toThrow(
      expect.objectContaining({ name: "BackendError" }),
    );
    const message = "program linear: expected bound tensors, got 1 lost with the device process: x; bind them again";
    await expect(program.run({})).rejects.toThrow(expect.objectContaining({ name: "BackendError", message }));
    expect(values((await program.run({ x }))["y"])).toEqual([1, 20]);
    await program.bind("x", x);
    expect(values((await program.run({}))["y"])).toEqual([1, 20]);
  });

  test("the error says what it said last", async () => {
    await expect(open().invoke(INVOKED, { crash: "out of luck" })).rejects.toThrow(
      /got its end \(exit code 1: TypeError: out of luck\)$/,
    );
  });

  test("a module's work is not silently undone: copies made before it are not restored", async () => {
    const program = await open().compile(linear());
    await program.bind("w", w);
    await device.invoke(INVOKED, { name: "w", factor: 2 });
    process.kill(device.pid as number, "SIGKILL");
    await expect(program.run({ x })).rejects.toThrow("got its end (SIGKILL, as when memory runs out)");
    await expect(program.run({ x })).rejects.toThrow("1 lost with the device process: w");
  });
});

describe("an abort", () => {
  test("rejects a long run within a second, and the device goes on", async () => {
    open();
    const [program, endless] = [await device.compile(linear()), await device.compile(slow())];
    const [controller, pid] = [new AbortController(), device.pid];
    const running = endless.run({ x: slowFeed }, { signal: controller.signal });
    await sleep(300);
    const aborted = performance.now();
    controller.abort();
    await expect(running).rejects.toThrow(
      expect.objectContaining({ name: "CancelledError", message: "program slow: cancelled" }),
    );
    expect(performance.now() - aborted).toBeLessThan(1000);
    expect(values((await program.run({ x, w }))["y"])).toEqual([1, 20]);
    expect(device.pid).not.toBe(pid);
  });

  test("of a short run leaves the process alive; a waiting run never starts", async () => {
    const program = await open().compile(linear());
    const [controller, waiting] = [new AbortController(), new AbortController()];
    const pid = device.pid;
    const runs = [
      program.run({ x, w }, { signal: controller.signal }),
      program.run({ x, w }, { signal: waiting.signal }),
    ];
    waiting.abort();
    controller.abort();
    for (const run of runs) await expect(run).rejects.toThrow(expect.objectContaining({ name: "CancelledError" }));
    await expect(program.run({ x, w }, { signal: AbortSignal.abort() })).rejects.toThrow("cancelled");
    await program.run({ x, w });
    await sleep(600);
    expect(device.pid).toBe(pid);
  });
});

describe("the end", () => {
  const parent = (mode: string) => {
    const child = spawn(process.execPath, [fileURLToPath(new URL("./orphan.mjs", import.meta.url)), mode], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    const ended = new Promise<number | null>((resolve) => child.on("exit", resolve));
    const pid = new Promise<number>((resolve) =>
      child.stdout.once("data", (text: Buffer) => resolve(Number(text.toString()))),
    );
    return { child, ended, pid };
  };
  const isAlive = (pid: number) => {
    try {
      return process.kill(pid, 0);
    } catch {
      return false;
    }
  };
  const goneWithin = async (pid: number, ms: number) => {
    for (const end = performance.now() + ms; performance.now() < end; await sleep(50)) if (!isAlive(pid)) return true;
    return false;
  };

  test("close() rejects what is under way and ends the process at once", async () => {
    open();
    const endless = await device.compile(slow());
    const pid = device.pid as number;
    const running = endless.run({ x: slowFeed });
    const rejection = expect(running).rejects.toThrow(
      "program slow: expected the device process to answer, got close()",
    );
    await sleep(200);
    const started = performance.now();
    await device.close();
    expect(performance.now() - started).toBeLessThan(1000);
    await rejection;
    expect(await goneWithin(pid, 1000)).toBe(true);
    await expect(endless.run({ x: slowFeed })).rejects.toThrow("expected an open device, got a closed one");
  });

  test("an idle device does not keep its parent alive", async () => {
    const { ended, pid } = parent("idle");
    const child = await pid;
    expect(await ended).toBe(0);
    expect(await goneWithin(child, 3000)).toBe(true);
  });

  test("a count of threads is checked", () => {
    expect(() => openDevice({ threads: 0 })).toThrow("device: expected a whole number of threads >= 1, got 0");
  });

  test("SIGINT to the device process does nothing: the parent decides", async () => {
    const program = await device.compile(linear());
    process.kill(device.pid as number, "SIGINT");
    expect(values((await program.run({ x, w }))["y"])).toEqual([1, 20]);
  });

  test.each(["hang", "run"])("a killed parent takes the process with it (%s)", async (mode) => {
    const { child, pid } = parent(mode);
    const orphan = await pid;
    // In the middle of a native call only the watching thread can act.
    await sleep(mode === "run" ? 1500 : 100);
    child.kill("SIGKILL");
    expect(await goneWithin(orphan, 4000)).toBe(true);
  });
});
