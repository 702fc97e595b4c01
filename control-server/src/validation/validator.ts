/** Schemas made into functions, with the same strictness everywhere. */
import { Ajv, type Options } from 'ajv'
import addFormats from 'ajv-formats'

// Others' defaults drop unknown fields: a typo would be accepted in silence.
export const createValidator = (options: Options) =>
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
