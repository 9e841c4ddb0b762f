/** @file Opens the real models on the CPU device. */

import { openDevice } from "../runtime/device.js";
import type { ModelSession } from "./context.js";

/** A session on one device, which both models share. The device's process starts while the code of the models is still being loaded. */
export function openModelSession(): ModelSession {
  const device = openDevice();
  device.start();
  const models = import("../library/open-models.js");
  return {
    programMs: () => device.runMs,
    openBackend: async (directory) => (await models).openBackend(device, directory ?? undefined),
    openReward: async (path) => (await models).openReward(device, path ?? undefined),
    openNamedReward: async (name) => (await import("../library/named-rewards.js")).openNamedReward(name, device),
    close: () => device.close(),
  };
}
