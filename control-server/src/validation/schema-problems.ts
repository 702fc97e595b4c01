/** What a schema found wrong, in our words. */
export type SchemaProblem = { path: string; message: string }

/** As Ajv makes them. */
type SchemaError = { instancePath: string; keyword: string; params: object; message?: string | undefined }

/** A document of a megabyte may have 100,000 faults; these are enough to be shown. */
const PROBLEMS_MAX = 40

/** One entry a fault: where (a JSON pointer, after `where`) and what. */
export const schemaProblems = (errors: readonly SchemaError[], where: string): SchemaProblem[] => {
  const problems = errors.slice(0, PROBLEMS_MAX).map(({ instancePath, keyword, params, message }) => {
    const given = params as Record<string, unknown>
    const named = (property: unknown) => `${where}${instancePath}/${String(property).slice(0, 200)}`
    if (keyword === 'required') return { path: named(given.missingProperty), message: 'is required' }
    if (keyword === 'additionalProperties')
      return { path: named(given.additionalProperty), message: 'is not a known field' }
    if (keyword === 'discriminator')
      return given.error === 'mapping'
        ? { path: named(given.tag), message: 'is not a known type' }
        : { path: named(given.tag), message: 'must be a string that names the type' }
    if (keyword === 'enum')
      return {
        path: where + instancePath,
        message: `must be one of ${(given.allowedValues as unknown[]).join(', ')}`,
      }
    return { path: where + instancePath || '/', message: message ?? 'is not valid' }
  })
  return problems.filter(
    ({ path, message }, index) => problems.findIndex((p) => p.path === path && p.message === message) === index,
  )
}
