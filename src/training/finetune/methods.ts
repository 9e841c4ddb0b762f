/** @file The fine-tuning methods' names, apart from their mathematics: the command line lists them without loading it. */

/** The losses of a fine-tuning run. */
export const FINETUNE_METHODS = ["refl", "draft", "dpo", "sft"] as const;

/** A fine-tuning method. */
export type FinetuneMethod = (typeof FINETUNE_METHODS)[number];
