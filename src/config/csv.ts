// Comma-separated values after RFC 4180: fields may be quoted, quotes in them are doubled, lines end in CR LF or LF.

/** Rows of fields; empty lines are left out. Throws where a quote is never closed: what comes after it would be one field. */
export function csvRows(text: string): string[][] {
  const rows: string[][] = [];
  let row: string[] = [];
  let field = "";
  let quoted = false;
  let quotedFrom = 0;
  const endRow = () => {
    row.push(field);
    if (row.length > 1 || row[0] !== "") rows.push(row);
    row = [];
    field = "";
  };
  for (let index = 0; index < text.length; index++) {
    const character = text[index]!;
    if (quoted) {
      if (character !== '"') field += character;
      else if (text[index + 1] === '"') {
        field += '"';
        index += 1;
      } else quoted = false;
    } else if (character === '"' && field === "") {
      quoted = true;
      quotedFrom = index;
    } else if (character === ",") {
      row.push(field);
      field = "";
    } else if (character === "\n") endRow();
    else if (character !== "\r" || text[index + 1] !== "\n") field += character;
  }
  if (quoted)
    throw new Error(`the quote that opens in line ${text.slice(0, quotedFrom).split("\n").length} is not closed`);
  endRow();
  return rows;
}
