/** How requests are validated: bodies as they are, text (query, path, headers) with its numbers read as numbers. */
import { Ajv, type Options } from 'ajv'
import addFormats from 'ajv-formats'
import type { FastifyInstance } from 'fastify'

// Fastify's own defaults drop unknown fields and turn "5" into 5 in bodies: a typo would be accepted in silence.
const ajv = (options: Options) =>
  addFormats.default(
    new Ajv({
      allErrors: true,
      removeAdditional: false,
      useDefaults: true,
      discriminator: true,
      strict: true,
      strictRequired: false,
      strictTypes: false,
      allowUnionTypes: true,
      // Ours are typed and compiled in strict mode; to validate them as well would take a seventh of the start.
      validateSchema: false,
      meta: false,
      ...options,
    }),
  )

export function installValidation(app: FastifyInstance): void {
  const exact = ajv({ coerceTypes: false })
  const text = ajv({ coerceTypes: true })
  app.setValidatorCompiler(({ schema, httpPart }) => (httpPart === 'body' ? exact : text).compile(schema as object))
}
