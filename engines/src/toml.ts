/** As much of TOML as the settings of an engine need: a JSON text is a basic string of it, but for one control character. */

export type TomlValue = string | number | boolean | readonly TomlValue[] | { readonly [key: string]: TomlValue }

const quoted = (value: string): string => JSON.stringify(value).replaceAll('\u007f', '\\u007f')

const inline = (value: TomlValue): string => {
  if (typeof value === 'string') return quoted(value)
  if (typeof value !== 'object') return String(value)
  if (Array.isArray(value)) return `[${value.map(inline).join(', ')}]`
  return `{ ${Object.entries(value)
    .map(([key, each]) => `${quoted(key)} = ${inline(each)}`)
    .join(', ')} }`
}

/** A line a key. */
export const tomlOf = (values: Readonly<Record<string, TomlValue>>): string =>
  Object.entries(values)
    .map(([key, value]) => `${quoted(key)} = ${inline(value)}\n`)
    .join('')
