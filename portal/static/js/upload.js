// Files dropped or chosen go up one request each, with a bar; the plain form stays for
// browsers without JavaScript. Markup: templates/datasets/_upload.html.
"use strict";

(() => {
  const AT_ONCE = 3;

  function line(list, name) {
    const row = document.createElement("li");
    row.className = "upload-row";
    const title = document.createElement("span");
    title.className = "text-truncate";
    title.textContent = name;
    const bar = document.createElement("progress");
    bar.className = "bar";
    bar.max = 1;
    bar.value = 0;
    bar.setAttribute("aria-label", name);
    const word = document.createElement("span");
    word.className = "upload-word";
    word.textContent = "waits";
    row.append(title, bar, word);
    list.prepend(row);
    return { row, bar, word };
  }

  function send(url, body, token, onProgress) {
    return new Promise((resolve) => {
      const request = new XMLHttpRequest();
      request.open("POST", url);
      request.setRequestHeader("X-CSRFToken", token);
      request.setRequestHeader("Accept", "application/json");
      request.upload.addEventListener("progress", onProgress);
      request.addEventListener("loadend", () => {
        let answer = null;
        try {
          answer = JSON.parse(request.responseText);
        } catch {
          // no answer or not ours: told below as a failed upload
        }
        resolve({ ok: request.status >= 200 && request.status < 300 && answer !== null, answer });
      });
      request.send(body);
    });
  }

  class Uploader {
    constructor(form) {
      this.form = form;
      this.token = form.querySelector("[name=csrfmiddlewaretoken]").value;
      this.list = form.querySelector("[data-upload-list]");
      this.summary = form.querySelector("[data-upload-summary]");
      this.rejected = form.querySelector("[data-upload-rejected]");
      this.url = form.dataset.filesUrl;
      this.counts = { total: 0, ended: 0, added: 0, refused: 0 };
      this.queue = [];
      this.running = 0;
    }

    async add(files) {
      if (files.length === 0) return;
      this.form.classList.add("uploading");
      if (!this.url && !(await this.open(files))) return;
      for (const file of files) {
        this.counts.total += 1;
        this.queue.push({ file, ...line(this.list, file.name) });
      }
      this.tell();
      while (this.running < AT_ONCE && this.queue.length > 0) this.next();
    }

    // On the new-job page the data set is made when the first file arrives.
    async open(files) {
      const body = new FormData();
      const day = new Date().toLocaleDateString("en-GB", { day: "numeric", month: "short" });
      body.append("name", files.length === 1 ? files[0].name : `${files.length} files, ${day}`);
      const { ok, answer } = await send(this.form.dataset.createUrl, body, this.token, () => {});
      if (!ok) {
        this.summary.textContent = "The data set could not be made. Reload the page and try again.";
        return false;
      }
      this.url = answer.files_url;
      this.dataset = answer;
      return true;
    }

    async next() {
      const { file, row, bar, word } = this.queue.shift();
      this.running += 1;
      word.textContent = "goes up";
      const body = new FormData();
      body.append("files", file, file.name);
      const { ok, answer } = await send(this.url, body, this.token, (event) => {
        if (event.lengthComputable) bar.value = event.loaded / event.total;
        if (bar.value === 1) word.textContent = "is checked";
      });
      this.running -= 1;
      this.counts.ended += 1;
      bar.value = 1;
      if (!ok) {
        const detail = (answer && answer.detail) || "The connection failed. Choose the file again.";
        this.refuse([{ name: file.name, detail }]);
      } else {
        this.counts.added += answer.added;
        this.refuse(answer.rejected);
      }
      const good = ok && answer.rejected.length === 0;
      row.classList.add(good ? "is-good" : "is-bad");
      word.textContent = good ? "added" : ok && answer.added > 0 ? "partly added" : "refused";
      this.tell();
      if (this.queue.length > 0) this.next();
      else if (this.running === 0) this.finish();
    }

    refuse(rejections) {
      for (const rejection of rejections) {
        this.counts.refused += 1;
        const item = document.createElement("li");
        const name = document.createElement("strong");
        name.textContent = rejection.name;
        item.append(name, ` ${rejection.detail}`);
        this.rejected.querySelector("ul").append(item);
        this.rejected.hidden = false;
      }
    }

    tell() {
      const { total, ended, added, refused } = this.counts;
      const parts = [`${ended} of ${total} files sent`, added === 1 ? "1 picture added" : `${added} pictures added`];
      if (refused > 0) parts.push(`${refused} refused`);
      this.summary.textContent = parts.join(" · ");
    }

    finish() {
      const detail = { dataset: this.dataset, ...this.counts };
      this.form.dispatchEvent(new CustomEvent("uploads:done", { bubbles: true, detail }));
    }
  }

  for (const form of document.querySelectorAll("[data-upload]")) {
    const uploader = new Uploader(form);
    const input = form.querySelector("input[type=file]");
    const area = form.querySelector("[data-drop]");
    input.addEventListener("change", () => {
      uploader.add([...input.files]);
      input.value = "";
    });
    for (const kind of ["dragover", "dragleave", "drop"]) {
      area.addEventListener(kind, (event) => {
        event.preventDefault();
        area.classList.toggle("over", kind === "dragover");
        if (kind === "drop") uploader.add([...event.dataTransfer.files]);
      });
    }
  }

  document.addEventListener("uploads:done", ({ detail, target }) => {
    if (target.dataset.reload !== undefined) {
      if (detail.added > 0) window.htmx.trigger(document.body, "pictures-added");
      return;
    }
    const select = document.getElementById("id_dataset");
    if (!select || !detail.dataset || detail.added === 0) return;
    const { id, name } = detail.dataset;
    let option = [...select.options].find((known) => known.value === id);
    if (!option) {
      option = new Option("", id);
      select.prepend(option);
    }
    option.textContent = `${name} (${detail.added === 1 ? "1 picture" : `${detail.added} pictures`})`;
    select.value = id;
    select.dispatchEvent(new Event("change", { bubbles: true }));
  });
})();
