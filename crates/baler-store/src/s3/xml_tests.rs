use super::*;

#[test]
fn a_listing_is_decoded_only_where_the_server_says_that_it_encoded() {
    let page = |encoding: &str| {
        format!(
            "<?xml version=\"1.0\"?>\n<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">{encoding}
            <IsTruncated>true</IsTruncated><NextContinuationToken>1/a+b==</NextContinuationToken>
            <Contents><Key>a%2Bb+c</Key><LastModified>2026-01-02T03:04:05.678Z</LastModified>
              <ETag>&quot;abc-2&quot;</ETag><Size>7</Size><New>x</New></Contents>
            <CommonPrefixes><Prefix>%FF/</Prefix></CommonPrefixes></ListBucketResult>"
        )
    };
    let encoded = object_page(page("<EncodingType>url</EncodingType>").as_bytes()).unwrap();
    assert_eq!(encoded.objects[0].key.as_deref(), Some("a+b c"));
    assert_eq!((encoded.objects[0].etag.as_str(), encoded.objects[0].size), ("abc-2", 7));
    assert_eq!(encoded.objects[0].modified.as_millisecond(), 1_767_323_045_678);
    assert_eq!(encoded.prefixes, [None]);
    assert_eq!(encoded.next.as_deref(), Some("1/a+b=="));
    let plain = object_page(page("").as_bytes()).unwrap();
    assert_eq!(plain.objects[0].key.as_deref(), Some("a%2Bb+c"));
}

#[test]
fn a_truncated_page_without_a_token_is_an_error_not_an_end() {
    let xml = "<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>";
    assert!(object_page(xml.as_bytes()).is_err());
}

#[test]
fn answers_cut_short_are_errors() {
    for xml in [
        "",
        "<ListBucketResult>",
        "<ListBucketResult><Contents></Contents></ListBucketResult>",
        "<ListBucketResult><Contents><Key>a</Key><ETag>e</ETag><Size>x</Size></Contents></ListBucketResult>",
        "<html/>",
        "</a>",
    ] {
        assert!(object_page(xml.as_bytes()).is_err(), "{xml}");
    }
    assert!(object_page("<a>".repeat(100_000).as_bytes()).is_err());
}

#[test]
fn refusals_are_read_with_code_region_and_request_id() {
    let xml = "<?xml version=\"1.0\"?><Error><Code>AuthorizationHeaderMalformed</Code>
        <Message>the region &apos;us-east-1&apos; is wrong &#38; so on</Message><Region>eu-west-2</Region>
        <RequestId>R1</RequestId></Error>";
    let error = error_body(xml.as_bytes()).unwrap();
    assert_eq!(error.code, "AuthorizationHeaderMalformed");
    assert_eq!(error.message, "the region 'us-east-1' is wrong & so on");
    assert_eq!((error.region.as_deref(), error.request_id.as_deref()), (Some("eu-west-2"), Some("R1")));
    assert_eq!(error_body(b"<CompleteMultipartUploadResult/>"), None);
    // Amazon keeps a slow completion alive with white space before the answer.
    assert_eq!(error_body(b" \n <Error><Code>InternalError</Code></Error>").unwrap().code, "InternalError");
}

#[test]
fn uploads_are_listed_with_both_markers() {
    let xml = "<ListMultipartUploadsResult><EncodingType>url</EncodingType><IsTruncated>true</IsTruncated>
        <NextKeyMarker>a%2Fb</NextKeyMarker><NextUploadIdMarker>u+1</NextUploadIdMarker>
        <Upload><Key>a%2Fb</Key><UploadId>u+1</UploadId><Initiated>2026-01-02T03:04:05.000Z</Initiated></Upload>
        </ListMultipartUploadsResult>";
    let page = upload_page(xml.as_bytes()).unwrap();
    assert_eq!(page.next, Some(("a/b".into(), "u+1".into())));
    assert_eq!((page.uploads[0].key.as_deref(), page.uploads[0].upload_id.as_str()), (Some("a/b"), "u+1"));
}

#[test]
fn a_completion_names_its_parts_in_order() {
    let body = complete_request([(1, "aa"), (2, "b<b")].into_iter());
    assert!(body.contains("<PartNumber>1</PartNumber><ETag>&quot;aa&quot;</ETag></Part><Part><PartNumber>2<"));
    assert!(body.contains("b&lt;b"));
}

#[test]
fn lifecycle_rules_are_read_in_all_their_forms() {
    let xml = "<LifecycleConfiguration>
        <Rule><ID>old</ID><Prefix>logs/</Prefix><Status>Enabled</Status><Expiration><Days>30</Days></Expiration></Rule>
        <Rule><Filter><And><Prefix>a/</Prefix><Tag><Key>k</Key><Value>v</Value></Tag></And></Filter>
          <Status>Disabled</Status><Expiration><Date>2030-01-01T00:00:00Z</Date></Expiration></Rule>
        <Rule><ID>mpu</ID><Filter/><Status>Enabled</Status>
          <AbortIncompleteMultipartUpload><DaysAfterInitiation>7</DaysAfterInitiation></AbortIncompleteMultipartUpload>
        </Rule></LifecycleConfiguration>";
    let rules = lifecycle_rules(xml.as_bytes()).unwrap();
    assert_eq!((rules[0].prefix.as_str(), rules[0].expires_after), ("logs/", Some(30)));
    assert_eq!((rules[1].prefix.as_str(), rules[1].enabled), ("a/", false));
    assert_eq!(rules[1].expires_after, Some(0));
    assert_eq!((rules[2].prefix.as_str(), rules[2].aborts_uploads_after), ("", Some(7)));
}

#[test]
fn versioning_that_was_never_set_has_no_status() {
    assert_eq!(versioning(b"<VersioningConfiguration/>").unwrap(), Versioning::Never);
    let set = b"<VersioningConfiguration><Status>Suspended</Status></VersioningConfiguration>";
    assert_eq!(versioning(set).unwrap(), Versioning::Suspended);
}
