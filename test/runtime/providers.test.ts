/** @file Asking for a device that is not there. */

import { describe, expect, test } from "vitest";
import { BackendError, UsageError } from "#laurel/errors";
import { graph, input, mul } from "#laurel/graph/builder";
import { acceleratorsHere, type DeviceChoice } from "#laurel/runtime/execution-providers";
import { openDevice } from "#laurel/runtime/device";
import { probeProvider } from "#laurel/runtime/probe";

const doubled = () => graph("doubled", { y: mul(input("x", "float32", ["N"]), 2) });

describe("a device that is not there", () => {
  test("is refused before anything is compiled, saying what to do", async () => {
    const foreign = process.platform === "win32" ? "coreml" : "dml";
    const device = openDevice({ executionProvider: foreign });
    const compiled = device.compile(doubled());
    await expect(compiled).rejects.toThrow(BackendError);
    await expect(compiled).rejects.toThrow(
      /^device (dml|coreml): expected one of cpu, [\w, ]+ on \w+, got (dml|coreml); it needs (Windows|macOS).*; --device cpu works everywhere$/,
    );
    expect(device.pid).toBeUndefined();
    await device.close();
  });

  test("CUDA that is not installed names the command that installs it", async () => {
    const { works, problem } = await probeProvider("cuda");
    if (works) return;
    expect(problem).not.toBe("");
    const device = openDevice({ executionProvider: "cuda" });
    await expect(device.provider()).rejects.toThrow(
      process.platform === "darwin"
        ? "on darwin, got cuda"
        : "npm rebuild onnxruntime-node --onnxruntime-node-install=cuda12",
    );
    await device.close();
  });

  test("a name that is none is refused at once", () => {
    const executionProvider = "gpu" as DeviceChoice;
    expect(() => openDevice({ executionProvider })).toThrow(UsageError);
    expect(() => openDevice({ executionProvider })).toThrow(
      "device: expected one of auto, cpu, webgpu, cuda, dml, coreml, got gpu",
    );
  });
});

test("each platform's builds have their own providers, the best first", () => {
  expect(acceleratorsHere("linux")).toEqual(["cuda", "webgpu"]);
  expect(acceleratorsHere("win32")).toEqual(["cuda", "webgpu", "dml"]);
  expect(acceleratorsHere("darwin")).toEqual(["webgpu", "coreml"]);
  expect(acceleratorsHere("aix")).toEqual([]);
});

test("the cpu always works, and its fused attention is right", async () => {
  expect(await probeProvider("cpu")).toMatchObject({ works: true, fusedAttention: true });
});
