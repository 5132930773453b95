// Names: snake_case in files and on the wire, camelCase in code; the same for types and for values.

export type Camel<S extends string> = S extends `${infer Head}_${infer Tail}` ? `${Head}${Capitalize<Camel<Tail>>}` : S;

/** The type with every property name in camelCase, read-only all the way down. */
export type DeepCamel<T> = T extends string | number | boolean | undefined
  ? T
  : T extends readonly (infer Item)[]
    ? readonly DeepCamel<Item>[]
    : { readonly [K in keyof T as Camel<K & string>]: DeepCamel<T[K]> };

export function camel(name: string): string {
  return name.replaceAll(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
}

/** A frozen copy with every property name in camelCase. Takes what JSON can hold. */
export function deepCamel<T>(value: T): DeepCamel<T> {
  if (Array.isArray(value)) return Object.freeze(value.map(deepCamel)) as DeepCamel<T>;
  if (typeof value !== "object" || value === null) return value as DeepCamel<T>;
  const entries = Object.entries(value).map(([name, part]) => [camel(name), deepCamel(part as unknown)] as const);
  return Object.freeze(Object.fromEntries(entries)) as DeepCamel<T>;
}
