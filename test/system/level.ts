// How much of the system tests runs: `PIPIT_TEST_SYSTEM=ci` takes what shall fit into twelve minutes of two cores, `full`
// takes every case and as many boards and power cuts as the promises name. Any other value runs as `ci`.
export const FULL = process.env["PIPIT_TEST_SYSTEM"] === "full";
