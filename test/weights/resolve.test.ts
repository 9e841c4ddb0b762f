/** @file Strict matching: every disagreement between a network and a checkpoint is listed, once, with a hint. */

import { resolve as resolvePath } from "node:path";
import { ModelError } from "#laurel/errors";
import type { DType } from "#laurel/tensor/dtype";
import { resolveWeights } from "#laurel/weights/resolve";
import { weightSource } from "#laurel/weights/source";
import type { WeightEntry, WeightSource } from "#laurel/weights/types";
import { describe, expect, it } from "vitest";

function source(
  tensors: Record<string, number[] | [DType, number[]]>,
  unusable: Record<string, string> = {},
): WeightSource {
  const entries = new Map<string, WeightEntry>();
  for (const [name, value] of Object.entries(tensors)) {
    const [dtype, shape] =
      typeof value[0] === "string" ? (value as [DType, number[]]) : (["float16", value as number[]] as const);
    entries.set(name, { name, dtype, shape, file: resolvePath("x.safetensors"), offset: 0, length: 0 });
  }
  return weightSource({ description: "safetensors file x", entries, unusable: new Map(Object.entries(unusable)) });
}

const network = new Map([
  ["conv.weight", { shape: [4, 3, 1, 1] }],
  ["conv.bias", { shape: [4] }],
]);

function messageOf(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    expect(error).toBeInstanceOf(ModelError);
    return (error as ModelError).message;
  }
  throw new Error("nothing was thrown");
}

describe("resolveWeights", () => {
  it("gives the entry of every parameter, from a map of values or a list of names", () => {
    const given = source({ "conv.bias": [4], "conv.weight": [4, 3, 1, 1] });
    expect([...resolveWeights(network, given, { where: "Net" })]).toEqual([
      ["conv.weight", given.entries.get("conv.weight")],
      ["conv.bias", given.entries.get("conv.bias")],
    ]);
    const list = [{ name: "conv.bias", shape: [4] }];
    expect(resolveWeights(list, source({ "conv.bias": [4] }), { where: "Net" }).size).toBe(1);
  });

  it("lists missing, unexpected, mis-shaped, mistyped and unusable tensors in one error of one line", () => {
    const parameters = new Map([
      ["a", { shape: [1] }],
      ["b", { shape: [2] }],
      ["c", { shape: [3] }],
      ["d", { shape: [4] }],
      ["ids", { shape: [5], dtype: "int64" as const }],
    ]);
    const given = source({ b: [2, 1], c: ["int64", [3]], extra: [9], ids: ["int32", [5]] }, { d: "dtype F8_E4M3" });
    expect(messageOf(() => resolveWeights(parameters, given, { where: "Net" }))).toBe(
      "Net: expected the 5 tensors of the network in safetensors file x, got 3 mis-shaped: b (expected [2], got [2,1]), " +
        "c (expected float32, got int64), ids (expected int64, got int32); 1 unusable: d (dtype F8_E4M3); 1 missing: a; 1 unexpected: extra",
    );
  });

  it("shows a dozen of each kind and counts the rest", () => {
    const parameters = Array.from({ length: 40 }, (_, i) => ({ name: `layer.${i}.weight`, shape: [1] }));
    const message = messageOf(() => resolveWeights(parameters, source({}), { where: "Net" }));
    expect(message).toContain("40 missing: layer.0.weight, ");
    expect(message).toContain("layer.11.weight, and 28 more");
    expect(message).not.toContain("layer.12.weight");
  });

  it("hints at a prefix, at a lost prefix and at the closest name", () => {
    const message = (key: string): string =>
      messageOf(() => resolveWeights(network, source({ [key]: [4], "conv.weight": [4, 3, 1, 1] }), { where: "Net" }));
    expect(message("module.conv.bias")).toContain("conv.bias (there is one with prefix module.)");
    expect(message("bias")).toContain("conv.bias (the closest is bias)");
    expect(message("conv.bais")).toContain("conv.bias (the closest is conv.bais)");
    expect(message("zzz")).toContain("missing: conv.bias;");
  });

  it("takes only keys under a prefix, and cuts it off", () => {
    const given = source({ "unet.conv.weight": [4, 3, 1, 1], "unet.conv.bias": [4], "vae.other": [1] });
    expect(resolveWeights(network, given, { where: "Net", prefix: "unet." }).get("conv.bias")?.name).toBe(
      "unet.conv.bias",
    );
    expect(messageOf(() => resolveWeights(network, given, { where: "Net", prefix: "text." }))).toContain(
      "in safetensors file x under text., got 2 missing",
    );
  });

  it("renames keys, and refuses two keys for one parameter", () => {
    const rename = (key: string): string | undefined => (key === "drop" ? undefined : key.replace("old.", "conv."));
    const given = source({ "old.weight": [4, 3, 1, 1], "old.bias": [4], drop: [1] });
    expect(resolveWeights(network, given, { where: "Net", rename }).get("conv.weight")?.name).toBe("old.weight");
    const both = source({ "old.weight": [4, 3, 1, 1], "old.bias": [4], "conv.bias": [4] });
    expect(messageOf(() => resolveWeights(network, both, { where: "Net", rename }))).toContain(
      "1 repeated: conv.bias (both old.bias and conv.bias)",
    );
  });

  it("ignores what is declared ignorable and nothing else", () => {
    const given = source({
      "conv.weight": [4, 3, 1, 1],
      "conv.bias": [4],
      "emb.position_ids": [77],
      "text_proj.weight": [1],
    });
    const ignore = [/position_ids$/, /^text_proj\./];
    expect(resolveWeights(network, given, { where: "Net", ignore }).size).toBe(2);
    expect(messageOf(() => resolveWeights(network, given, { where: "Net", ignore: [/position_ids$/] }))).toContain(
      "1 unexpected: text_proj.weight",
    );
  });

  it("accepts dimensions of size 1 that come or go only where that is declared", () => {
    const given = source({ "conv.weight": [4, 3], "conv.bias": [4] });
    expect(resolveWeights(network, given, { where: "Net", reshape: [/^conv\.weight$/] }).size).toBe(2);
    expect(messageOf(() => resolveWeights(network, given, { where: "Net" }))).toContain(
      "conv.weight (expected [4,3,1,1], got [4,3])",
    );
    const turned = source({ "conv.weight": [3, 4], "conv.bias": [4] });
    expect(messageOf(() => resolveWeights(network, turned, { where: "Net", reshape: [/weight/] }))).toContain(
      "got [3,4]",
    );
  });

  it("takes any float dtype for a float parameter", () => {
    for (const dtype of ["float16", "bfloat16", "float32", "float64"] as const) {
      const given = source({ "conv.weight": [dtype, [4, 3, 1, 1]], "conv.bias": [dtype, [4]] });
      expect(resolveWeights(network, given, { where: "Net" }).get("conv.bias")?.dtype).toBe(dtype);
    }
  });

  it("is not led astray by __proto__ and constructor", () => {
    const given = source({});
    expect(
      messageOf(() =>
        resolveWeights(
          [
            { name: "constructor", shape: [] },
            { name: "__proto__", shape: [] },
          ],
          given,
          { where: "Net" },
        ),
      ),
    ).toContain("2 missing: constructor, __proto__");
  });
});
