/** @file Opens the real models on a device. */

import { type Device, openDevice } from "../runtime/device.js";
import type { ModelSession, SessionOptions } from "./context.js";

/**
 * A session on one device, which both models share. The device's process starts while the code of the models is still being loaded.
 * @throws BackendError when the device asked for is not there
 */
export async function openModelSession(options: SessionOptions = {}): Promise<ModelSession> {
  const { device: executionProvider, lowMemory, vaeTile, onWarning } = options;
  const device = openDevice({ executionProvider, lowMemory, onWarning });
  device.start();
  const models = import("../library/open-models.js");
  if (executionProvider !== undefined) await checked(device);
  return {
    programMs: () => device.runMs,
    openBackend: async (path, reading) =>
      (await models).openBackend(device, path ?? undefined, { vaeTile, ...reading }),
    openReward: async (path, dtype) => (await models).openReward(device, path ?? undefined, { dtype }),
    openNamedReward: async (name) => (await import("../library/named-rewards.js")).openNamedReward(name, device),
    close: () => device.close(),
  };
}

/** Asks for the provider now, so that one that is not there is told before any work. */
async function checked(device: Device): Promise<void> {
  try {
    await device.provider();
  } catch (error) {
    await device.close();
    throw error;
  }
}
