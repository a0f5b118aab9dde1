//! Files, and which of them are read.

use std::fs;
use std::os::unix::fs::symlink;

use modules::{Files, Phase, Settings};

use crate::{MODULE, Scratch, fetch, quick, request};

#[tokio::test]
async fn a_file_is_read_and_one_that_is_missing_may_come() {
    let scratch = Scratch::new();
    let path = scratch.0.join("m.wasm");
    let request = request(&format!("file://{}", path.display()));
    let error = fetch(quick(), &request).await.unwrap_err();
    assert!(error.is_retryable, "{error}");
    assert_eq!(
        error.to_string(),
        format!("file://{}: No such file or directory", path.display())
    );
    fs::write(&path, MODULE).unwrap();
    assert_eq!(&fetch(quick(), &request).await.unwrap().bytes[..], MODULE);
    let settings = Settings {
        max_module: 10,
        ..quick()
    };
    let error = fetch(settings, &request).await.unwrap_err();
    assert!(
        error.to_string().ends_with("it has more than 10 bytes"),
        "{error}"
    );
}

#[tokio::test]
async fn only_files_of_the_folder_are_read_and_no_link_leads_out_of_it() {
    let (allowed, other) = (Scratch::new(), Scratch::new());
    fs::write(allowed.0.join("good.wasm"), MODULE).unwrap();
    fs::write(other.0.join("secret.wasm"), MODULE).unwrap();
    symlink(other.0.join("secret.wasm"), allowed.0.join("link.wasm")).unwrap();
    symlink(&other.0, allowed.0.join("folder")).unwrap();
    let settings = || Settings {
        files: Files::Under(allowed.0.clone()),
        ..quick()
    };
    let good = format!("file://{}/good.wasm", allowed.0.display());
    fetch(settings(), &request(&good)).await.unwrap();
    for path in [
        format!("{}/link.wasm", allowed.0.display()),
        format!("{}/folder/secret.wasm", allowed.0.display()),
        format!("{}/secret.wasm", other.0.display()),
        format!(
            "{}/../{}/secret.wasm",
            allowed.0.display(),
            other.0.file_name().unwrap().display()
        ),
    ] {
        let error = fetch(settings(), &request(&format!("file://{path}")))
            .await
            .unwrap_err();
        assert_eq!(
            (error.phase, error.is_retryable),
            (Phase::Resolve, false),
            "{path}"
        );
        assert!(error.to_string().contains("MODULE_FILES"), "{error}");
    }
}
