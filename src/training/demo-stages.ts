/** @file The networks of the demo world by name, apart from their training: the command line lists them without loading it. */

/** The demo world's networks, in the order in which they are trained. */
export const DEMO_STAGES = ["autoencoder", "denoiser", "reward", "judge"] as const;
export type DemoStage = (typeof DEMO_STAGES)[number];
