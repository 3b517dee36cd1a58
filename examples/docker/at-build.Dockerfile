# syntax=docker/dockerfile:1
# An image that has its models in it: docker build -f at-build.Dockerfile .
# The build needs models.yaml, models.lock and serve. What it fetches is verified before anything is copied.

FROM python:3.13-slim AS models
RUN pip install --no-cache-dir "model-provisioner[hf]==0.2.0"
RUN useradd --system --uid 10001 --create-home models && install -d -o models /srv/models /srv/store
USER models
WORKDIR /srv/models
# The store lies where it will lie in the image, because handoffs name models by their paths. The state stays in this stage.
ENV MODEL_PROVISIONER_CACHE_DIR=/srv/store
COPY models.yaml models.lock ./
RUN model-provisioner provision --locked && model-provisioner check

# Your engine's image in place of this one.
FROM python:3.13-slim
RUN useradd --system --uid 10001 --no-create-home models
# The bytes of the models are a layer of their own, owned by root: nobody in the container can change what was verified.
COPY --from=models --chown=root:root /srv/store /srv/store
COPY --from=models --chown=root:root /srv/models /srv/models
COPY --chmod=0755 serve /usr/local/bin/serve
USER models
ENV MODEL_HANDOFF=/srv/models/.runtime/engines/llamacpp.json
ENTRYPOINT ["serve"]
CMD ["llama-server", "--port", "8080"]
