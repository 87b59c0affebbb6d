# The factory's images, a target for each need:
#   service   intake, planner, builder, reviewer, notifier, console, factoryctl
#   browser   recorder: with a Chromium
#   node      envkeeper: also with what apps are commonly built and run with, since jobs of the provider `local` run here
# Behind a mirror or a proxy: the build secrets `apt` (a deb822 sources file) and `ca` (certificates) are used and kept out of every layer.
ARG BASE_IMAGE=debian:bookworm-slim

# Python, git, and the one user of all images: a node's directory is shared by three of them.
FROM ${BASE_IMAGE} AS base
RUN --mount=type=secret,id=apt,target=/etc/apt/sources.list.d/build.sources \
    apt-get update && apt-get install -y --no-install-recommends ca-certificates git python3 \
    && rm -rf /var/lib/apt/lists/* /var/cache/* /var/log/*
RUN groupadd --gid 10001 factory \
    && useradd --uid 10001 --gid 10001 --home-dir /tmp --no-create-home --shell /usr/sbin/nologin factory \
    && install --directory --owner factory --group factory --mode 0700 /var/lib/factory
ENV LANG=C.UTF-8 HOME=/tmp PATH=/opt/factory/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    FACTORY_NODE_DIR=/var/lib/factory FACTORY_PROJECTS=/etc/factory/projects.yaml FACTORY_HEALTH_PORT=8081
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s CMD ["python", "-I", "-m", "factory_chassis.healthcheck"]

# uv and the build backend, as locked; they are in no image.
FROM base AS tools
RUN --mount=type=secret,id=apt,target=/etc/apt/sources.list.d/build.sources \
    apt-get update && apt-get install -y --no-install-recommends python3-pip python3-venv && rm -rf /var/lib/apt/lists/*
COPY requirements.lock /src/
COPY scripts/locked /src/scripts/
RUN --mount=type=secret,id=ca,target=/run/build-ca.crt \
    if [ -s /run/build-ca.crt ]; then export PIP_CERT=/run/build-ca.crt; fi \
    && /src/scripts/locked uv uv-build > /tmp/tools.txt && python3 -m venv /opt/tools \
    && /opt/tools/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes -r /tmp/tools.txt
ENV UV=/opt/tools/bin/uv UV_PYTHON_DOWNLOADS=never UV_NO_CACHE=1

# What the members declare, without their code: dependencies are looked for again only where this changes.
FROM base AS declared
COPY pyproject.toml /src/
COPY libs /src/libs
COPY services /src/services
RUN find /src -type f ! -name pyproject.toml -delete && find /src -type d -empty -delete

FROM tools AS dependencies
COPY --from=declared /src /src
RUN --mount=type=secret,id=ca,target=/run/build-ca.crt \
    if [ -s /run/build-ca.crt ]; then export SSL_CERT_FILE=/run/build-ca.crt; fi \
    && /src/scripts/locked --members-without libs/browser services/recorder > /service.txt \
    && /src/scripts/locked --members-without > /browser.txt

FROM tools AS wheels
COPY --from=declared /src /src
COPY libs /src/libs
COPY services /src/services
RUN cd /src && for member in libs/* services/*; do \
        $UV build --quiet --wheel --no-build-isolation --python /opt/tools/bin/python --out-dir /wheels $member || exit 1; \
    done

# Dependencies first and members last: a change of code changes one small layer.
FROM base AS with-dependencies
RUN --mount=type=bind,from=dependencies,target=/build \
    --mount=type=secret,id=ca,target=/run/build-ca.crt \
    if [ -s /run/build-ca.crt ]; then export SSL_CERT_FILE=/run/build-ca.crt; fi \
    && /build/opt/tools/bin/uv venv --quiet --no-cache --python /usr/bin/python3 /opt/factory \
    && /build/opt/tools/bin/uv pip install --quiet --no-cache --compile-bytecode --python /opt/factory --require-hashes -r /build/service.txt

FROM with-dependencies AS with-browser
RUN --mount=type=secret,id=apt,target=/etc/apt/sources.list.d/build.sources \
    apt-get update && apt-get install -y --no-install-recommends chromium fonts-dejavu-core fonts-noto-color-emoji libatomic1 \
    && rm -rf /var/lib/apt/lists/* /var/cache/* /var/log/*
RUN --mount=type=bind,from=dependencies,target=/build \
    --mount=type=secret,id=ca,target=/run/build-ca.crt \
    if [ -s /run/build-ca.crt ]; then export SSL_CERT_FILE=/run/build-ca.crt; fi \
    && /build/opt/tools/bin/uv pip install --quiet --no-cache --compile-bytecode --python /opt/factory --require-hashes -r /build/browser.txt

FROM with-browser AS with-tools
ARG APP_PACKAGES="build-essential curl nodejs npm procps python3-pip python3-venv unzip"
RUN --mount=type=secret,id=apt,target=/etc/apt/sources.list.d/build.sources \
    apt-get update && apt-get install -y --no-install-recommends ${APP_PACKAGES} \
    && rm -rf /var/lib/apt/lists/* /var/cache/* /var/log/*

FROM with-tools AS node
RUN --mount=type=bind,from=wheels,target=/build \
    /build/opt/tools/bin/uv pip install --quiet --no-cache --compile-bytecode --python /opt/factory --no-deps --offline /build/wheels/*.whl
ARG VERSION=dev
LABEL org.opencontainers.image.title="Software Factory: node" org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.description="envkeeper, with what the apps of jobs are built and run with"
USER 10001:10001
WORKDIR /tmp
CMD ["python", "-m", "factory_envkeeper"]

FROM with-browser AS browser
RUN --mount=type=bind,from=wheels,target=/build \
    /build/opt/tools/bin/uv pip install --quiet --no-cache --compile-bytecode --python /opt/factory --no-deps --offline /build/wheels/*.whl
ARG VERSION=dev
LABEL org.opencontainers.image.title="Software Factory: browser" org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.description="recorder, with a Chromium"
USER 10001:10001
WORKDIR /tmp
CMD ["python", "-m", "factory_recorder"]

FROM with-dependencies AS service
RUN --mount=type=bind,from=wheels,target=/build \
    /build/opt/tools/bin/uv pip install --quiet --no-cache --compile-bytecode --python /opt/factory --no-deps --offline /build/wheels/*.whl
ARG VERSION=dev
LABEL org.opencontainers.image.title="Software Factory: service" org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.description="intake, planner, builder, reviewer, notifier, console and factoryctl"
USER 10001:10001
WORKDIR /tmp
CMD ["factoryctl", "--help"]
