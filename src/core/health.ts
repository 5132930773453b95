// What a room says of its own progress. A timer that beats proves only that timers run; a count that grows proves work.

export interface Health {
  /** Grows with each step the room finishes: batches, records, packets. Any change is progress. */
  steps: number;
  /** The work that is owed now and how long one step of it may take; absent at rest, when nothing is owed. */
  doing?: { what: string; stepMs: number };
}

/** A room that can be asked, under the name it has in logs. */
export interface HealthSource {
  room: string;
  health(): Health;
}

/** Not every room of a kind does: a journal in memory, for one, has nothing that could hang. */
export function owesProgress(room: object | undefined): room is HealthSource {
  return room !== undefined && "health" in room;
}
