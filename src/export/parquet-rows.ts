/** @file Rows to the bytes of a parquet file, a row group at a time. */

import { ByteWriter, type ColumnSource, ParquetWriter, schemaFromColumnData } from "hyparquet-writer";

/** A value of a row; null only in a nullable column. */
export type ParquetCell = Uint8Array | string | number | bigint | boolean | null;

/** A column; it holds no null unless it says so. */
export type ParquetColumn = Omit<ColumnSource, "data"> & { readonly type: NonNullable<ColumnSource["type"]> };

/** A row, its cells in the order of the columns. */
export interface ParquetRow {
  readonly cells: readonly ParquetCell[];
  /** What it weighs in a row group. */
  readonly bytes: number;
}

/** The file's bytes; each piece is overwritten by the next. @param group rows and bytes after which a row group ends: reader and writer hold one at a time */
export async function* parquetPieces(
  columns: readonly ParquetColumn[],
  rows: AsyncIterable<ParquetRow>,
  group: { readonly rows: number; readonly bytes: number },
): AsyncGenerator<Uint8Array, void> {
  const bytes = new ByteWriter();
  const described = columns.map((column) => ({ nullable: false, ...column }));
  const schema = schemaFromColumnData({ columnData: described.map((column) => ({ ...column, data: [] })) });
  const writer = new ParquetWriter({ writer: bytes, schema, statistics: false, createdBy: "laurel" });
  const flushed = (): Uint8Array => {
    const piece = bytes.getBytes();
    bytes.index = 0;
    return piece;
  };
  let held: (readonly ParquetCell[])[] = [];
  let size = 0;
  const write = async (): Promise<Uint8Array> => {
    const data = described.map((column, c) => ({ ...column, data: held.map((cells) => cells[c]!) }));
    await writer.write({ columnData: data, rowGroupSize: held.length });
    [held, size] = [[], 0];
    return flushed();
  };
  for await (const row of rows) {
    held.push(row.cells);
    size += row.bytes;
    if (held.length >= group.rows || size >= group.bytes) yield await write();
  }
  if (held.length > 0) yield await write();
  await writer.finish();
  yield flushed();
}
