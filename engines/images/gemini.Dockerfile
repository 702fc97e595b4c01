# Gemini CLI. Build with `npm run images -- gemini`.
FROM node:22-bookworm-slim

# The same line in every image, so that they share its layer. The certificates are for what a run reaches besides its model.
RUN apt-get update \
  && apt-get install -y --no-install-recommends ca-certificates git ripgrep \
  && rm -rf /var/lib/apt/lists/*

# The lock has the hash of every part. What is optional are terminals and key rings of a desktop.
COPY gemini/package.json gemini/package-lock.json /opt/engine/
RUN cd /opt/engine \
  && npm ci --omit=optional --ignore-scripts --no-audit --no-fund \
  && npm cache clean --force \
  && ln -s /opt/engine/node_modules/.bin/gemini /usr/local/bin/gemini \
  && HOME=/tmp gemini --version \
  && rm -rf /tmp/* /tmp/.[a-z]*

WORKDIR /workspace
